//! Opcodes that read a word of the frame: from the context, or from revm's own frame input.

use super::{
    Translator, trusted, unaligned,
    word::{Limb, Word},
};
use crate::abi::offsets;
use cranelift_codegen::ir::{self, InstBuilder, types};
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
            Opcode::ADDRESS => self.address(offsets::INPUT_TARGET),
            Opcode::CALLER => self.address(offsets::INPUT_CALLER),
            Opcode::CALLVALUE => self.call_value(),
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

    /// An address of the frame input: 20 bytes, big-endian.
    fn address(&mut self, at: i32) -> Word {
        let input = self.load_context(types::I64, offsets::INPUT);
        let mut part = |ty: ir::Type, offset: i32| {
            let bytes = self.b.ins().load(ty, unaligned(), input, at + offset);
            self.b.ins().bswap(bytes)
        };
        let (l0, l1, top) = (part(types::I64, 12), part(types::I64, 4), part(types::I32, 0));
        let l2 = self.b.ins().uextend(types::I64, top);
        Word::new([Limb::Value(l0), Limb::Value(l1), Limb::Value(l2), Limb::ZERO], 160)
    }

    fn call_value(&mut self) -> Word {
        let input = self.load_context(types::I64, offsets::INPUT);
        let limbs = std::array::from_fn(|limb| {
            let offset = offsets::INPUT_VALUE + 8 * limb as i32;
            Limb::Value(self.b.ins().load(types::I64, trusted(), input, offset))
        });
        Word::new(limbs, 256)
    }
}
