//! MLOAD, MSTORE, MSTORE8 and CALLDATALOAD: inline where the bytes are there, a builtin where not.
//!
//! An access is inline if it lies within memory as it is; else a cold path grows memory, charging gas as
//! revm does, or fails. Once an offset has passed the check it is known to be narrow.

use super::{
    Translator, trusted,
    word::{Limb, Word, compare_zero},
};
use crate::{abi::offsets, builtins::Builtin};
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, condcodes::IntCC, types};
use cranevm_passes::ir::entities::{Inst, Value};

/// Offsets below this can be immediates of an access.
const MAX_IMMEDIATE_OFFSET: u64 = 1 << 30;

/// Bits that bound an offset within memory: gas can't buy more.
const MEMORY_OFFSET_BITS: u16 = 48;

/// How many bytes an instruction accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Word,
    Byte,
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
            let word = self.load_big_endian(pointer, at);
            self.define(result, word);
        }
    }

    pub(super) fn mstore(&mut self, inst: Inst) {
        let &[offset, value] = self.program.args(inst) else { unreachable!("MSTORE takes two") };
        let word = self.use_word(value);
        let (pointer, at) = self.memory_pointer(inst, offset, Access::Word);
        for (limb, part) in word.limbs.into_iter().enumerate() {
            let part = match part {
                Limb::Const(bits) => self.b.ins().iconst(types::I64, bits.swap_bytes() as i64),
                limb => {
                    let value = limb.value(&mut self.b);
                    self.b.ins().bswap(value)
                }
            };
            self.b.ins().store(trusted(), part, pointer, at + 24 - 8 * limb as i32);
        }
    }

    pub(super) fn mstore8(&mut self, inst: Inst) {
        let &[offset, value] = self.program.args(inst) else { unreachable!("MSTORE8 takes two") };
        let word = self.use_word(value);
        let (pointer, at) = self.memory_pointer(inst, offset, Access::Byte);
        let byte = word.limbs[0].value(&mut self.b);
        self.b.ins().istore8(trusted(), byte, pointer, at);
    }

    fn load_big_endian(&mut self, pointer: ir::Value, at: i32) -> Word {
        let limbs = std::array::from_fn(|limb| {
            let offset = at + 24 - 8 * limb as i32;
            let part = self.b.ins().load(types::I64, trusted(), pointer, offset);
            Limb::Value(self.b.ins().bswap(part))
        });
        Word::new(limbs, 256)
    }

    /// Makes sure that the accessed bytes are in memory; where they are.
    fn memory_pointer(&mut self, inst: Inst, offset: Value, access: Access) -> (ir::Value, i32) {
        let word = self.use_word(offset);
        let gas_after = self.gas_after(inst);
        let immediate = word
            .as_const()
            .and_then(|offset| u64::try_from(offset).ok())
            .filter(|&offset| offset < MAX_IMMEDIATE_OFFSET);
        if let Some(at) = immediate {
            let end = at + access.bytes();
            if end > self.state.known_memory {
                let len = self.load_context(types::I64, offsets::MEMORY_LEN);
                let outside = self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, len, end as i64);
                self.grow_if(outside, &word, access, gas_after);
                self.state.known_memory = end.next_multiple_of(32);
            }
            return (self.load_context(types::I64, offsets::MEMORY_BASE), at as i32);
        }
        let low = word.limbs[0].value(&mut self.b);
        let word =
            Word { limbs: [Limb::Value(low), word.limbs[1], word.limbs[2], word.limbs[3]], ..word };
        let limit = match access {
            Access::Word => offsets::MEMORY_WORDS_END,
            Access::Byte => offsets::MEMORY_LEN,
        };
        let outside = self.is_beyond(&word, limit);
        self.grow_if(outside, &word, access, gas_after);
        self.refine(offset, Word::narrow(low, word.bits.min(MEMORY_OFFSET_BITS)));
        let base = self.load_context(types::I64, offsets::MEMORY_BASE);
        (self.b.ins().iadd(base, low), 0)
    }

    /// The flag of a word being at or above a limit in the context.
    fn is_beyond(&mut self, word: &Word, limit: i32) -> ir::Value {
        let limit = self.load_context(types::I64, limit);
        let low = word.limbs[0].value(&mut self.b);
        let beyond = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, low, limit);
        let high = word.high_union(&mut self.b);
        match compare_zero(IntCC::NotEqual, high, &mut self.b) {
            Limb::Flag(wide) => self.b.ins().bor(beyond, wide),
            Limb::Const(0) => beyond,
            _ => self.b.ins().iconst(types::I8, 1),
        }
    }

    /// On a cold path, grows memory for an access at `offset`.
    fn grow_if(&mut self, outside: ir::Value, offset: &Word, access: Access, gas_after: u64) {
        let (grow, go_on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(grow);
        let merged_gas = self.b.append_block_param(go_on, types::I64);
        let gas = self.gas();
        self.b.ins().brif(outside, grow, &[], go_on, &[BlockArg::Value(gas)]);

        self.b.switch_to_block(grow);
        self.store_context(gas, offsets::GAS);
        let low = offset.limbs[0].value(&mut self.b);
        let high = offset.high_union(&mut self.b).value(&mut self.b);
        let gas_after = self.b.ins().iconst(types::I64, gas_after as i64);
        let builtin = match access {
            Access::Word => Builtin::GrowWord,
            Access::Byte => Builtin::GrowByte,
        };
        let args = [self.context(), low, high, gas_after];
        let status = self.call(builtin, &args).expect("the signature has a result");
        self.check_status(status);
        let grown = self.b.current_block().expect("the block just switched to");
        self.b.set_cold_block(grown);
        let gas = self.load_context(types::I64, offsets::GAS);
        self.b.ins().jump(go_on, &[BlockArg::Value(gas)]);

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
        let outside = self.is_beyond(&word, offsets::CALLDATA_WORDS_END);
        let base = self.load_context(types::I64, offsets::CALLDATA_BASE);
        let low = word.limbs[0].value(&mut self.b);
        let inside = self.b.ins().iadd(base, low);
        self.b.ins().brif(outside, past_end, &[], go_on, &[BlockArg::Value(inside)]);

        self.b.switch_to_block(past_end);
        let high = word.high_union(&mut self.b).value(&mut self.b);
        let args = [self.context(), low, high];
        let scratch = self.call(Builtin::CalldataWord, &args).expect("the signature has a result");
        self.b.ins().jump(go_on, &[BlockArg::Value(scratch)]);

        self.b.switch_to_block(go_on);
        let word = self.load_big_endian(pointer, 0);
        self.define(result, word);
    }
}
