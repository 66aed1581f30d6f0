//! Whether an instruction does what revm's does: both are run on frames of their own, which are
//! compared.
//!
//! That shows a replacement which does something else to its frame for any of the operands tried.
//! It doesn't show one that does the same, and something besides: who counts instructions in a
//! table that another crate has made replaces them where this crate sees it, or keeps the backend
//! disabled. That is why only instructions are tried whose place compiled code takes all the time:
//! arithmetic, stack, memory, jumps.
//!
//! Only for instructions that ask the host for prices and nothing else, at the fork's own prices.

use revm_bytecode::{Bytecode, opcode};
use revm_interpreter::{
    CallInput, Gas, Host, InputsImpl, Instruction, InstructionContext, InstructionExecResult,
    Interpreter, InterpreterAction, SharedMemory,
    interpreter::{EthInterpreter, ExtBytecode, RuntimeFlags, STACK_LIMIT},
    interpreter_types::{Jumps, LoopControl},
};
use revm_primitives::{Address, Bytes, U256, hardfork::SpecId};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Frames begin with this many words of memory.
const MEMORY_WORDS: usize = 3;

/// Where the opcode is.
const PC: usize = 9;

/// Gas of a frame: none, too little for most memory, and enough.
const GAS: [u64; 3] = [100_000, 0, 20];

/// What follows the opcode in turn, for those that read it.
const IMMEDIATES: [u8; 6] = [0x80, 0x01, 0x5b, 0x8e, 0x52, 0xff];

/// Runs an instruction on a frame.
type Run<'a> = &'a mut dyn FnMut(&mut Interpreter<EthInterpreter>) -> InstructionExecResult;

/// Whether the first of two instructions for an opcode does what the second does, revm's.
#[cold]
pub(super) fn behaves_like<H: Host>(
    byte: u8,
    (other, own): (Instruction<EthInterpreter, H>, Instruction<EthInterpreter, H>),
    spec_id: SpecId,
    host: &mut H,
) -> bool {
    // Unwind safety: a panic decides, and the frames are dropped.
    catch_unwind(AssertUnwindSafe(|| {
        Trials::new(byte, spec_id).all(|trial| {
            let mut run = |instruction: Instruction<EthInterpreter, H>| {
                let host = &mut *host;
                trial.run(&mut |interpreter| {
                    instruction.execute(InstructionContext { interpreter, host: &mut *host })
                })
            };
            run(own) == run(other)
        })
    }))
    .unwrap_or(false)
}

/// A frame for an instruction.
#[derive(Debug)]
struct Trial {
    code: Bytecode,
    stack: Vec<U256>,
    gas: u64,
    has_memory: bool,
    flags: RuntimeFlags,
}

/// All that an instruction has left of its frame.
#[derive(Debug, PartialEq)]
struct Trace {
    result: InstructionExecResult,
    action: Option<InterpreterAction>,
    stack: Vec<U256>,
    memory: Vec<u8>,
    gas: Gas,
    pc: usize,
    code: Bytes,
    input: InputsImpl,
    return_data: Bytes,
    flags: RuntimeFlags,
}

impl Trial {
    fn run(&self, run: Run<'_>) -> Trace {
        let input = InputsImpl {
            target_address: Address::repeat_byte(0x11),
            bytecode_address: Some(Address::repeat_byte(0x22)),
            caller_address: Address::repeat_byte(0x33),
            input: CallInput::Bytes((1..=70).collect()),
            call_value: U256::MAX / U256::from(3),
            depth: 7,
        };
        let RuntimeFlags { is_static, spec_id } = self.flags;
        let code = ExtBytecode::new(self.code.clone());
        let memory = SharedMemory::new();
        let mut frame = Interpreter::new(memory, code, input, is_static, spec_id, self.gas);
        if self.has_memory {
            frame.memory.resize(32 * MEMORY_WORDS);
            let bytes: Vec<u8> = (0..32 * MEMORY_WORDS).map(|at| at as u8 ^ 0xa5).collect();
            frame.memory.set(0, &bytes);
            let words_cost = 3 * MEMORY_WORDS as u64;
            let _cost = frame.gas.memory_mut().set_words_num(MEMORY_WORDS, words_cost);
        }
        frame.return_data.0 = (100..140).collect();
        frame.stack.data_mut().extend(&self.stack);
        // As `Interpreter::step` leaves it.
        frame.bytecode.absolute_jump(PC + 1);
        let result = run(&mut frame);
        Trace {
            result,
            action: frame.bytecode.action().take(),
            pc: frame.bytecode.pc(),
            code: frame.bytecode.original_bytes(),
            stack: frame.stack.data().clone(),
            memory: frame.memory.context_memory().to_vec(),
            gas: frame.gas,
            return_data: frame.return_data.0.clone(),
            flags: frame.runtime_flag,
            input: frame.input,
        }
    }
}

/// The frames that an opcode is tried on.
struct Trials {
    byte: u8,
    spec_id: SpecId,
    codes: Vec<Bytecode>,
    stacks: Vec<Vec<U256>>,
    /// Trials so far.
    count: usize,
}

impl Trials {
    fn new(byte: u8, spec_id: SpecId) -> Self {
        let codes = IMMEDIATES.map(|immediate| {
            let mut code = vec![opcode::STOP; PC];
            code.extend([byte, immediate]);
            code.extend((0..31).map(|at| 0x60 ^ at));
            // JUMPDESTs at some of the places that operands lead to.
            code.resize(260, opcode::JUMPDEST);
            Bytecode::new_legacy(code.into())
        });
        Self { byte, spec_id, codes: codes.to_vec(), stacks: stacks(byte), count: 0 }
    }
}

impl Iterator for Trials {
    type Item = Trial;

    /// Each stack, with each amount of gas.
    fn next(&mut self) -> Option<Trial> {
        let count = self.count;
        self.count += 1;
        let stack = self.stacks.get(count / GAS.len())?.clone();
        let round = count / GAS.len();
        Some(Trial {
            code: self.codes[round % self.codes.len()].clone(),
            stack,
            gas: GAS[count % GAS.len()],
            has_memory: !(round + usize::from(self.byte)).is_multiple_of(3),
            flags: RuntimeFlags { is_static: round.is_multiple_of(2), spec_id: self.spec_id },
        })
    }
}

/// Operands: edges of lengths, offsets, shifts, signs and limbs.
fn edges() -> Vec<U256> {
    let one = U256::from(1);
    let small = [0u64, 1, 2, 3, 31, 32, 33, 40, 96, 255, 256, 4096, u64::MAX - 31, u64::MAX];
    let large = [one << 64, one << 127, (one << 255) - one, one << 255, U256::MAX - one, U256::MAX];
    let pattern = U256::from_be_bytes::<32>(std::array::from_fn(|at| (37 * at + 11) as u8));
    small.map(U256::from).into_iter().chain(large).chain([pattern]).collect()
}

/// Stacks for an opcode: one word too few, all combinations of a few edges, deep ones, a full one.
fn stacks(byte: u8) -> Vec<Vec<U256>> {
    let inputs = opcode::OPCODE_INFO[usize::from(byte)].map_or(0, |info| info.inputs());
    let inputs = usize::from(inputs);
    let distinct = |len: usize| (0..len).map(|at| U256::from(7 * at + 3)).collect::<Vec<_>>();
    let mut stacks = vec![distinct(inputs.saturating_sub(1)), distinct(STACK_LIMIT)];
    stacks.extend([inputs, inputs + 1, 40, 240, 300, STACK_LIMIT - 1].map(distinct));
    let edges = edges();
    // Few where they combine to many.
    let edges: Vec<U256> = match inputs {
        1 | 2 => edges,
        3 => edges.into_iter().step_by(3).collect(),
        _ => return stacks,
    };
    for number in 0..edges.len().pow(inputs as u32) {
        let digit = |place| number / edges.len().pow(place) % edges.len();
        let operands = (0..inputs as u32).map(|place| edges[digit(place)]);
        stacks.push([U256::from(5)].into_iter().chain(operands).collect());
    }
    stacks
}

#[cfg(all(test, feature = "cranelift"))]
mod tests {
    use super::*;
    use crate::builtins::native_opcodes;
    use revm_interpreter::{
        InstructionResult,
        host::DummyHost,
        instructions::{arithmetic, control, instruction_table, stack, system},
    };

    type Context<'a> = InstructionContext<'a, DummyHost, EthInterpreter>;

    /// revm's instruction, from elsewhere.
    #[inline(never)]
    fn copy<const OPCODE: u8>(context: Context<'_>) -> InstructionExecResult {
        instruction_table()[usize::from(OPCODE)].execute(context)
    }

    fn is_like<const OPCODE: u8>(
        spec_id: SpecId,
        other: fn(Context<'_>) -> InstructionExecResult,
    ) -> bool {
        let own = instruction_table()[usize::from(OPCODE)];
        let mut host = DummyHost::new(spec_id);
        behaves_like(OPCODE, (Instruction::new(other), own), spec_id, &mut host)
    }

    #[test]
    fn copies_behave_like_revms() {
        for spec_id in [SpecId::FRONTIER, SpecId::CANCUN, SpecId::AMSTERDAM] {
            assert!(is_like::<{ opcode::ADD }>(spec_id, copy::<{ opcode::ADD }>));
            assert!(is_like::<{ opcode::EXP }>(spec_id, copy::<{ opcode::EXP }>));
            assert!(is_like::<{ opcode::MCOPY }>(spec_id, copy::<{ opcode::MCOPY }>));
            assert!(is_like::<{ opcode::RETURN }>(spec_id, copy::<{ opcode::RETURN }>));
            assert!(is_like::<{ opcode::JUMPI }>(spec_id, copy::<{ opcode::JUMPI }>));
            assert!(is_like::<{ opcode::EXCHANGE }>(spec_id, copy::<{ opcode::EXCHANGE }>));
        }
    }

    #[test]
    fn replacements_are_told_by_what_they_do() {
        fn charging<const GAS: u64>(context: Context<'_>) -> InstructionExecResult {
            match context.interpreter.gas.record_regular_cost(GAS) {
                true => copy::<{ opcode::ADD }>(context),
                false => Err(InstructionResult::OutOfGas),
            }
        }
        fn remembering(context: Context<'_>) -> InstructionExecResult {
            context.interpreter.return_data.0 = Bytes::new();
            copy::<{ opcode::ADD }>(context)
        }
        fn jumping(context: Context<'_>) -> InstructionExecResult {
            context.interpreter.bytecode.relative_jump(1);
            copy::<{ opcode::ADD }>(context)
        }
        fn panicking(_: Context<'_>) -> InstructionExecResult {
            panic!("of no use on a frame that isn't the chain's")
        }
        let spec_id = SpecId::CANCUN;
        assert!(is_like::<{ opcode::ADD }>(spec_id, charging::<0>));
        assert!(!is_like::<{ opcode::ADD }>(spec_id, charging::<1>));
        for other in [remembering, jumping, panicking, arithmetic::sub] {
            assert!(!is_like::<{ opcode::ADD }>(spec_id, other));
        }
        assert!(!is_like::<{ opcode::SDIV }>(spec_id, arithmetic::div));
        assert!(!is_like::<{ opcode::SMOD }>(spec_id, arithmetic::rem));
        assert!(!is_like::<{ opcode::RETURN }>(spec_id, control::revert));
        assert!(!is_like::<{ opcode::CALLDATACOPY }>(spec_id, system::codecopy));
        assert!(!is_like::<{ opcode::DUP2 }>(spec_id, stack::dup::<3, _, _>));
        assert!(!is_like::<{ opcode::PUSH3 }>(spec_id, stack::push::<4, _, _>));
    }

    /// Each native opcode's own instruction is told from each other one's.
    #[test]
    fn no_two_opcodes_are_alike() {
        let spec_id = SpecId::AMSTERDAM;
        let table = instruction_table::<EthInterpreter, DummyHost>();
        let mut host = DummyHost::new(spec_id);
        let provable = || (0..=u8::MAX).filter(|&byte| native_opcodes().bit(byte.into()));
        for byte in provable() {
            for other in provable().filter(|&other| other != byte) {
                let pair = (table[usize::from(other)], table[usize::from(byte)]);
                let alike = behaves_like(byte, pair, spec_id, &mut host);
                assert!(!alike, "{other:#x} in place of {byte:#x}");
            }
        }
    }
}
