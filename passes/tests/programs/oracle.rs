//! revm's interpreter as the judge of what code computes, and words that rules look for.

use super::Random;
use alloy_primitives::U256;
use cranevm_passes::ir::opcode::Opcode;
use revm_bytecode::Bytecode;
use revm_interpreter::host::DummyHost;
use revm_interpreter::instructions::{gas_table_spec, instruction_table};
use revm_interpreter::interpreter::{EthInterpreter, ExtBytecode, InputsImpl};
use revm_interpreter::{Interpreter, SharedMemory};
use revm_primitives::hardfork::SpecId;

/// revm's interpreter; its machinery is kept between runs.
pub(crate) struct Oracle {
    host: DummyHost,
    pub(crate) spec_id: SpecId,
}

impl Oracle {
    /// An interpreter for a fork.
    pub(crate) fn new(spec_id: SpecId) -> Self {
        Self { host: DummyHost::new(spec_id), spec_id }
    }

    /// The stack, from the bottom, that a code leaves.
    pub(crate) fn stack(&mut self, code: Vec<u8>) -> Vec<U256> {
        self.run(code).0
    }

    /// The stack and the memory that a code leaves.
    pub(crate) fn run(&mut self, code: Vec<u8>) -> (Vec<U256>, Vec<u8>) {
        let mut interpreter = Interpreter::<EthInterpreter>::new(
            SharedMemory::new(),
            ExtBytecode::new(Bytecode::new_raw(code.into())),
            InputsImpl::default(),
            false,
            self.spec_id,
            10_000_000,
        );
        let table = instruction_table::<EthInterpreter, DummyHost>();
        interpreter.run_plain(&table, &gas_table_spec(self.spec_id), &mut self.host);
        (interpreter.stack.data().clone(), interpreter.memory.context_memory().to_vec())
    }

    /// The result of one instruction.
    pub(crate) fn result(&mut self, opcode: Opcode, args: &[U256]) -> U256 {
        let mut code = Vec::new();
        args.iter().rev().for_each(|&arg| push(arg, &mut code));
        code.push(opcode.get());
        self.stack(code).pop().expect("an opcode with a result")
    }
}

/// Words that rules look for, and their neighbours.
pub(crate) fn word(random: &mut Random) -> U256 {
    let power = U256::from(1) << random.below(256);
    match random.below(10) {
        0 => U256::from(random.below(40)),
        1 => U256::from(random.below(300)),
        2 => power,
        3 => power - U256::from(1),
        4 => !power,
        5 => power.wrapping_neg(),
        6 => (U256::from(1) << (8 * random.below(32))) - U256::from(1),
        7 => U256::MAX - U256::from(random.below(3)),
        8 => (U256::from(1) << 255) + U256::from(random.below(3)) - U256::from(1),
        _ => U256::from_be_slice(&random.bytes(32)),
    }
}

/// Appends code that pushes a word.
pub(crate) fn push(word: U256, code: &mut Vec<u8>) {
    code.push(Opcode::PUSH32.get());
    code.extend(word.to_be_bytes::<32>());
}
