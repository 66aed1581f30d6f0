//! A frame in the middle: all that an engine finds when it goes on with one.

use crate::{
    case::{SENDER, TARGET},
    rng::mix,
};
use alloy_primitives::{Bytes, U256, hex};
use revm::{
    bytecode::Bytecode,
    context_interface::cfg::GasParams,
    interpreter::{
        CallInput, Gas, InputsImpl, Interpreter, SharedMemory,
        interpreter::{EthInterpreter, ExtBytecode},
        interpreter_types::Jumps,
    },
    primitives::hardfork::SpecId,
};
use std::{cell::RefCell, fmt, rc::Rc};

/// revm's interpreter, with a frame.
pub type Frame = Interpreter<EthInterpreter>;

/// Bytes behind memory that are filled with junk: code that reads or writes beyond it is found out,
/// where it would crash otherwise.
const GUARD: usize = 1 << 15;

/// Bytes of such junk.
const JUNK: u8 = 0xd5;

/// Code and the fork it runs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// What it is, for people.
    pub name: String,
    /// The bytes.
    pub bytes: Bytes,
    /// The fork.
    pub spec: SpecId,
}

/// Where a stretch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Offset of the instruction.
    pub pc: usize,
    /// From the bottom.
    pub stack: Vec<U256>,
    /// Words of memory, paid for, with contents that follow from the seed.
    pub memory_words: usize,
    /// Gas left.
    pub gas: u64,
    /// State gas left (EIP-8037), and what was spent of it before.
    pub reservoir: u64,
    /// Whether state mustn't be changed.
    pub is_static: bool,
    /// The frame's calldata.
    pub calldata: Bytes,
    /// What the last call returned.
    pub return_data: Bytes,
    /// What memory, storage and accounts hold.
    pub seed: u64,
}

impl State {
    /// The frame. `bytecode` is the code's, analysed.
    pub fn frame(&self, bytecode: &Bytecode, spec: SpecId) -> Frame {
        let input = InputsImpl {
            target_address: TARGET,
            bytecode_address: Some(TARGET),
            caller_address: SENDER,
            input: CallInput::Bytes(self.calldata.clone()),
            call_value: U256::from(self.seed & 1),
            depth: 1,
        };
        let memory = SharedMemory::new_with_buffer(Rc::new(RefCell::new(self.memory())));
        let code = ExtBytecode::new(bytecode.clone());
        let mut frame = Frame::new(memory, code, input, self.is_static, spec, 0);
        // More was there than is left; some of it is to be given back.
        frame.gas =
            Gas::new_with_regular_gas_and_reservoir(self.gas.saturating_add(9000), self.reservoir);
        frame.gas.set_remaining(self.gas);
        frame.gas.record_refund(4800);
        let cost = GasParams::new_spec(spec).memory_cost(self.memory_words);
        frame.gas.memory_mut().set_words_num(self.memory_words, cost);
        frame.stack.data_mut().extend_from_slice(&self.stack);
        frame.return_data.0 = self.return_data.clone();
        frame.bytecode.absolute_jump(self.pc);
        frame
    }

    /// Memory, with junk behind it. Most words are offsets in it, as contracts keep there.
    fn memory(&self) -> Vec<u8> {
        let len = self.memory_words * 32;
        let mut bytes = vec![JUNK; len + GUARD];
        for (index, word) in bytes[..len].chunks_mut(32).enumerate() {
            let number = mix(self.seed ^ index as u64);
            let value = match number & 7 {
                0 => U256::ZERO,
                1 => U256::from(number >> 3 & 0xff),
                2 => U256::from_limbs([number, mix(number), !number, number]),
                _ => U256::from((number >> 3 & 31) * 32),
            };
            word.copy_from_slice(&value.to_be_bytes::<32>());
        }
        bytes.truncate(len);
        bytes
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {:?}, {} bytes: {}",
            self.name,
            self.spec,
            self.bytes.len(),
            hex::encode(&self.bytes)
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pc, memory_words, gas, reservoir, is_static, seed, .. } = self;
        write!(f, "pc {pc}, gas {gas}, reservoir {reservoir}, static {is_static}, ")?;
        writeln!(f, "{memory_words} words of memory, seed {seed:#x}")?;
        writeln!(f, "  calldata {}", hex::encode(&self.calldata))?;
        writeln!(f, "  return data {}", hex::encode(&self.return_data))?;
        write!(f, "  stack of {}, top first:", self.stack.len())?;
        let zeros = self.stack.iter().take_while(|word| word.is_zero()).count();
        for word in self.stack[zeros..].iter().rev() {
            write!(f, " {word:x}")?;
        }
        if zeros > 0 { write!(f, " and {zeros} zeros") } else { Ok(()) }
    }
}
