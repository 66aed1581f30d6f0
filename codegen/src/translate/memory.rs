//! MLOAD, MSTORE, MSTORE8 and CALLDATALOAD: inline where the bytes are there, a builtin where not.
//!
//! An access is inline if it lies within memory as it is; else a cold path grows memory, charging
//! gas as revm does, or fails. Once an offset has passed the check it is known to be narrow.

use super::{
    Translator, unaligned,
    word::{Limb, Word},
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

/// A condition on an access. Each is a branch of its own: that is shorter than joining flags.
#[derive(Clone, Copy, Debug)]
enum Bound<'a> {
    /// The word fits its lowest limb.
    Fits(&'a Word),
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
            self.b.ins().store(unaligned(), part, pointer, at + 24 - 8 * limb as i32);
        }
    }

    pub(super) fn mstore8(&mut self, inst: Inst) {
        let &[offset, value] = self.program.args(inst) else { unreachable!("MSTORE8 takes two") };
        let word = self.use_word(value);
        let (pointer, at) = self.memory_pointer(inst, offset, Access::Byte);
        let byte = word.limbs[0].value(&mut self.b);
        self.b.ins().istore8(unaligned(), byte, pointer, at);
    }

    fn load_big_endian(&mut self, pointer: ir::Value, at: i32) -> Word {
        let limbs = std::array::from_fn(|limb| {
            let offset = at + 24 - 8 * limb as i32;
            let part = self.b.ins().load(types::I64, unaligned(), pointer, offset);
            Limb::Value(self.b.ins().bswap(part))
        });
        Word::new(limbs, 256)
    }

    /// Makes sure that the accessed bytes are in memory; where they are.
    fn memory_pointer(&mut self, inst: Inst, offset: Value, access: Access) -> (ir::Value, i32) {
        let word = self.use_word(offset);
        let window = self.gas_window(inst);
        let immediate = word
            .as_const()
            .and_then(|offset| u64::try_from(offset).ok())
            .filter(|&offset| offset < MAX_IMMEDIATE_OFFSET);
        if let Some(at) = immediate {
            let end = at + access.bytes();
            if end > self.state.known_memory {
                self.grow_if(&[Bound::Reaches(end)], &word, access, window);
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
        self.grow_if(&[Bound::Fits(&word), Bound::Below(low, limit)], &word, access, window);
        self.refine(offset, Word::narrow(low, word.bits.min(MEMORY_OFFSET_BITS)));
        let base = self.load_context(types::I64, offsets::MEMORY_BASE);
        (self.b.ins().iadd(base, low), 0)
    }

    /// Goes to `otherwise` unless all bounds hold. One branch is quicker to compile, one for each
    /// bound quicker to run.
    fn require(&mut self, bounds: &[Bound<'_>], otherwise: ir::Block) {
        let mut violated: Option<ir::Value> = None;
        for bound in bounds {
            let Some(violation) = self.violation(bound) else { continue };
            violated = Some(match violated {
                Some(earlier) if self.optimises => {
                    self.leave_if(earlier, otherwise);
                    violation
                }
                Some(earlier) => self.b.ins().bor(earlier, violation),
                None => violation,
            });
        }
        if let Some(violated) = violated {
            self.leave_if(violated, otherwise);
        }
    }

    fn leave_if(&mut self, flag: ir::Value, otherwise: ir::Block) {
        let go_on = self.b.create_block();
        self.b.ins().brif(flag, otherwise, &[], go_on, &[]);
        self.b.switch_to_block(go_on);
    }

    /// The flag of a bound not holding; `None` if it is known to hold.
    fn violation(&mut self, bound: &Bound<'_>) -> Option<ir::Value> {
        match *bound {
            Bound::Fits(word) => {
                let high = word.high_union(&mut self.b);
                if high.is_zero() {
                    return None;
                }
                let high = high.value(&mut self.b);
                Some(self.b.ins().icmp_imm_s(IntCC::NotEqual, high, 0))
            }
            Bound::Below(low, limit) => {
                let limit = self.load_context(types::I64, limit);
                Some(self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, low, limit))
            }
            Bound::Reaches(end) => {
                let len = self.load_context(types::I64, offsets::MEMORY_LEN);
                Some(self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, len, end as i64))
            }
        }
    }

    /// Grows memory for an access at `offset`, on a cold path, unless it is within bounds.
    fn grow_if(&mut self, bounds: &[Bound<'_>], offset: &Word, access: Access, window: u64) {
        let (grow, go_on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(grow);
        let merged_gas = self.b.append_block_param(go_on, types::I64);
        let gas = self.gas();
        self.require(bounds, grow);
        self.b.ins().jump(go_on, &[BlockArg::Value(gas)]);

        self.b.switch_to_block(grow);
        self.store_context(gas, offsets::GAS);
        let low = offset.limbs[0].value(&mut self.b);
        let high = offset.high_union(&mut self.b).value(&mut self.b);
        let window = self.b.ins().iconst(types::I64, window as i64);
        let builtin = match access {
            Access::Word => Builtin::GrowWord,
            Access::Byte => Builtin::GrowByte,
        };
        let args = [self.context(), low, high, window];
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
        let low = word.limbs[0].value(&mut self.b);
        let bounds = [Bound::Fits(&word), Bound::Below(low, offsets::CALLDATA_WORDS_END)];
        self.require(&bounds, past_end);
        let base = self.load_context(types::I64, offsets::CALLDATA_BASE);
        let inside = self.b.ins().iadd(base, low);
        self.b.ins().jump(go_on, &[BlockArg::Value(inside)]);

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
