//! Opcodes that read a word of the frame: from the context, or from revm's own frame input.

use super::Translator;
use crate::{
    abi::offsets,
    words::{Word, address, call_value},
};
use cranelift_codegen::ir::{InstBuilder, types};
use cranevm_passes::ir::{entities::Inst, opcode::Opcode};

/// Bits that bound a length in bytes: no buffer is longer.
const LENGTH_BITS: u16 = 48;

impl Translator<'_, '_> {
    pub(super) fn environment(&mut self, inst: Inst) {
        let Some(result) = self.wanted(inst) else { return };
        let data = &self.program.insts[inst];
        let word = match data.opcode {
            Opcode::MSIZE => self.length(offsets::MEMORY_LEN),
            Opcode::CALLDATASIZE => self.length(offsets::CALLDATA_LEN),
            Opcode::RETURNDATASIZE => self.length(offsets::RETURN_DATA_LEN),
            Opcode::GAS => self.exact_gas(self.gas_after(inst)),
            Opcode::ADDRESS => {
                let input = self.load_context(types::I64, offsets::INPUT);
                address(input, offsets::INPUT_TARGET, &mut self.b)
            }
            Opcode::CALLER => {
                let input = self.load_context(types::I64, offsets::INPUT);
                address(input, offsets::INPUT_CALLER, &mut self.b)
            }
            Opcode::CALLVALUE => {
                let input = self.load_context(types::I64, offsets::INPUT);
                call_value(input, &mut self.b)
            }
            opcode => unreachable!("{opcode:?} isn't read from the frame"),
        };
        self.define(result, word);
    }

    fn length(&mut self, offset: i32) -> Word {
        Word::narrow(self.load_context(types::I64, offset), LENGTH_BITS)
    }

    /// The gas that revm has left after this instruction: the rest of the block is charged already.
    fn exact_gas(&mut self, gas_after: u64) -> Word {
        let gas = self.gas();
        let exact =
            if gas_after == 0 { gas } else { self.b.ins().iadd_imm_s(gas, gas_after as i64) };
        Word::narrow(exact, 64)
    }
}
