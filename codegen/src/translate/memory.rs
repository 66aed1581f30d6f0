//! MLOAD, MSTORE, MSTORE8 and CALLDATALOAD: inline where the bytes are there, a builtin where not.
//!
//! An access is inline if it lies within memory as it is; else a cold path grows memory, charging
//! gas as revm does, or fails. Once an offset has passed the check it is known to be narrow.

use super::{Translator, unaligned};
use crate::{
    abi::offsets,
    builtins::{Buffer, Builtin, MAX_MEMORY},
    words::{Limb, Word, load_big_endian},
};
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, condcodes::IntCC, types};
use cranevm_passes::ir::{
    entities::{Inst, Value},
    verify,
};

/// Offsets below this can be immediates of an access.
const MAX_IMMEDIATE_OFFSET: u64 = 1 << 30;

/// Bits that bound an offset within memory.
const MEMORY_OFFSET_BITS: u16 = 48;
const _: () = assert!(MAX_MEMORY < 1 << MEMORY_OFFSET_BITS);

/// How many bytes an instruction accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Word,
    Byte,
}

/// A condition on an access. Each is a branch of its own: that is shorter than joining flags.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// The value is zero.
    Zero(ir::Value),
    /// The value is below a limit in the context.
    Below(ir::Value, i32),
    /// Memory reaches up to this many bytes.
    Reaches(u64),
}

impl Access {
    const fn bytes(self) -> u64 {
        match self {
            Self::Word => 32,
            Self::Byte => 1,
        }
    }
}

impl Translator<'_, '_> {
    pub(super) fn mload(&mut self, inst: Inst) {
        let offset = self.program.args(inst)[0];
        let (pointer, at) = self.memory_pointer(inst, offset, Access::Word);
        if let Some(result) = self.wanted(inst) {
            let word = load_big_endian(pointer, at, &mut self.b);
            self.define(result, word);
        }
    }

    pub(super) fn mstore(&mut self, inst: Inst) {
        let &[offset, value] = self.program.args(inst) else { unreachable!("MSTORE takes two") };
        let word = self.use_word(value);
        let (pointer, at) = self.memory_pointer(inst, offset, Access::Word);
        self.store_big_endian(&word, pointer, at);
    }

    fn store_big_endian(&mut self, word: &Word, pointer: ir::Value, at: i32) {
        for (half, limbs) in word.limbs.as_chunks::<2>().0.iter().enumerate() {
            let at = at + 16 - 16 * half as i32;
            if limbs.iter().all(|limb| limb.is_zero()) {
                self.store_wide_zero(pointer, at);
                continue;
            }
            for (limb, at) in limbs.iter().zip([at + 8, at]) {
                let part = match *limb {
                    Limb::ZERO => {
                        self.store_zero(pointer, at);
                        continue;
                    }
                    Limb::Const(bits) => self.b.ins().iconst(types::I64, bits.swap_bytes() as i64),
                    limb => {
                        let value = limb.value(&mut self.b);
                        self.b.ins().bswap(value)
                    }
                };
                self.b.ins().store(unaligned(), part, pointer, at);
            }
        }
    }

    pub(super) fn mstore8(&mut self, inst: Inst) {
        let &[offset, value] = self.program.args(inst) else { unreachable!("MSTORE8 takes two") };
        let word = self.use_word(value);
        let (pointer, at) = self.memory_pointer(inst, offset, Access::Byte);
        let byte = word.limbs[0].value(&mut self.b);
        self.b.ins().istore8(unaligned(), byte, pointer, at);
    }

    /// Makes sure that the accessed bytes are in memory; where they are.
    fn memory_pointer(&mut self, inst: Inst, offset: Value, access: Access) -> (ir::Value, i32) {
        let (pointer, at) = self.reach_memory(inst, offset, access);
        self.assert_access(pointer, at, access.bytes(), Buffer::Memory);
        (pointer, at)
    }

    fn reach_memory(&mut self, inst: Inst, offset: Value, access: Access) -> (ir::Value, i32) {
        let word = self.use_word(offset);
        let ahead = self.gas_after(inst);
        let immediate = word
            .as_const()
            .and_then(|offset| u64::try_from(offset).ok())
            .filter(|&offset| offset < MAX_IMMEDIATE_OFFSET);
        if let Some(at) = immediate {
            let end = at + access.bytes();
            let is_checked = end > self.state.known_memory;
            self.accesses.push(verify::Access { inst, end, is_checked });
            if is_checked {
                let low = self.b.ins().iconst(types::I64, at as i64);
                self.grow_unless(&Bound::Reaches(end), low, None, access, ahead);
                self.state.known_memory = end.next_multiple_of(32);
            }
            return (self.memory_base(), at as i32);
        }
        let low = word.limbs[0].value(&mut self.b);
        let high = self.high_part(&word);
        let limit = match access {
            Access::Word => offsets::MEMORY_WORDS_END,
            Access::Byte => offsets::MEMORY_LEN,
        };
        self.grow_unless(&Bound::Below(low, limit), low, high, access, ahead);
        self.refine(offset, Word::narrow(low, word.bits.min(MEMORY_OFFSET_BITS)));
        let base = self.memory_base();
        (self.b.ins().iadd(base, low), 0)
    }

    /// Goes to `otherwise` unless a bound holds.
    fn require(&mut self, bound: &Bound, otherwise: ir::Block) {
        let violated = self.violation(bound);
        let go_on = self.b.create_block();
        self.b.ins().brif(violated, otherwise, &[], go_on, &[]);
        self.b.switch_to_block(go_on);
    }

    /// A value that is zero exactly if a bound holds.
    fn violation(&mut self, bound: &Bound) -> ir::Value {
        match *bound {
            Bound::Zero(high) => high,
            Bound::Below(low, limit) => {
                let limit = self.load_context(types::I64, limit);
                self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, low, limit)
            }
            Bound::Reaches(end) => {
                let len = self.load_context(types::I64, offsets::MEMORY_LEN);
                self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, len, end as i64)
            }
        }
    }

    /// The union of a word's upper limbs, unless the word is known to fit its lowest.
    fn high_part(&mut self, word: &Word) -> Option<ir::Value> {
        let high = word.high_union(&mut self.b);
        (!high.is_zero()).then(|| high.value(&mut self.b))
    }

    /// Grows memory for an access at an offset, on a cold path, unless it is within a bound. `low`
    /// and `high` are the offset.
    fn grow_unless(
        &mut self,
        bound: &Bound,
        low: ir::Value,
        high: Option<ir::Value>,
        access: Access,
        ahead: u64,
    ) {
        let (grow, go_on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(grow);
        let merged_gas = self.b.append_block_param(go_on, types::I64);
        let gas = self.gas();
        if let Some(high) = high {
            self.require(&Bound::Zero(high), grow);
        }
        let violated = self.violation(bound);
        self.b.ins().brif(violated, grow, &[], go_on, &[BlockArg::Value(gas)]);

        self.b.switch_to_block(grow);
        let high = high.unwrap_or_else(|| self.b.ins().iconst(types::I64, 0));
        let ahead = self.b.ins().iconst(types::I64, ahead as i64);
        let builtin = match access {
            Access::Word => Builtin::GrowWord,
            Access::Byte => Builtin::GrowByte,
        };
        let args = [self.context(), low, high, ahead, gas];
        let [status, gas] = self.call_for_two(builtin, &args);
        let fail = self.fail_block();
        let gas = [BlockArg::Value(gas)];
        self.b.ins().brif(status, fail, &[BlockArg::Value(status)], go_on, &gas);

        self.b.switch_to_block(go_on);
        self.state.gas = Some(merged_gas);
    }

    pub(super) fn calldataload(&mut self, inst: Inst) {
        let offset = self.program.args(inst)[0];
        let word = self.use_word(offset);
        let Some(result) = self.wanted(inst) else { return };
        let (past_end, go_on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(past_end);
        let pointer = self.b.append_block_param(go_on, types::I64);
        let low = word.limbs[0].value(&mut self.b);
        let high = self.high_part(&word);
        if let Some(high) = high {
            self.require(&Bound::Zero(high), past_end);
        }
        self.require(&Bound::Below(low, offsets::CALLDATA_WORDS_END), past_end);
        let base = self.load_context(types::I64, offsets::CALLDATA_BASE);
        let inside = self.b.ins().iadd(base, low);
        self.assert_access(inside, 0, Access::Word.bytes(), Buffer::Calldata);
        self.b.ins().jump(go_on, &[BlockArg::Value(inside)]);

        self.b.switch_to_block(past_end);
        let high = high.unwrap_or_else(|| self.b.ins().iconst(types::I64, 0));
        let args = [self.context(), low, high];
        let scratch = self.call(Builtin::CalldataWord, &args).expect("the signature has a result");
        self.b.ins().jump(go_on, &[BlockArg::Value(scratch)]);

        self.b.switch_to_block(go_on);
        let word = load_big_endian(pointer, 0, &mut self.b);
        self.define(result, word);
    }
}
