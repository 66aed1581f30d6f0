//! Where a computed jump leads: by the bitmaps of entry points.

use super::Builder;
use crate::abi::layout::{BEFORE, BYTES_LOG2, ENTRIES, GRANULE, JUMPDESTS};
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, types};

/// What is known of the 64 bytes of bytecode around a pc.
pub(crate) struct Surroundings {
    pc: ir::Value,
    granule: ir::Value,
}

impl Surroundings {
    /// Of a pc within the bytecode, by the context's pointer to the granules.
    pub(crate) fn of(pc: ir::Value, granules: ir::Value, b: Builder<'_, '_>) -> Self {
        let number = b.ins().ushr_imm_s(pc, i64::from(BYTES_LOG2));
        const { assert!(GRANULE == 24) };
        let twice = b.ins().ishl_imm_s(number, 1);
        let thrice = b.ins().iadd(number, twice);
        let offset = b.ins().ishl_imm_s(thrice, 3);
        Self { pc, granule: b.ins().iadd(granules, offset) }
    }

    /// Whether a jump may go to the pc: a word that is 0 or 1.
    pub(crate) fn is_jumpdest(&self, b: Builder<'_, '_>) -> ir::Value {
        let jumpdests = self.load(JUMPDESTS, b);
        // Shifts are by the amount modulo 64.
        let shifted = b.ins().ushr(jumpdests, self.pc);
        b.ins().band_imm_u(shifted, 1)
    }

    /// Whether there is an entry point at the pc: a word that is 0 or 1.
    pub(crate) fn is_entry(&self, b: Builder<'_, '_>) -> ir::Value {
        let entries = self.load(ENTRIES, b);
        let shifted = b.ins().ushr(entries, self.pc);
        b.ins().band_imm_u(shifted, 1)
    }

    /// The rank of the entry point at the pc, if there is one.
    pub(crate) fn rank(&self, b: Builder<'_, '_>) -> ir::Value {
        let entries = self.load(ENTRIES, b);
        let ones = b.ins().iconst(types::I64, -1);
        let from_here = b.ins().ishl(ones, self.pc);
        let before = b.ins().band_not(entries, from_here);
        let before = b.ins().popcnt(before);
        let first = self.load(BEFORE, b);
        b.ins().iadd(first, before)
    }

    fn load(&self, offset: usize, b: Builder<'_, '_>) -> ir::Value {
        b.ins().load(types::I64, MemFlagsData::trusted(), self.granule, offset as i32)
    }
}
