//! Words from where they lie otherwise than on the stack: big-endian in EVM memory and calldata, or
//! in revm's frame input.

use super::{Builder, Limb, Word};
use crate::abi::offsets;
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, types};

/// Flags of accesses to bytes that are there, at any address.
fn unaligned() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// The 32 bytes at `at` from a pointer, as a word.
pub(crate) fn load_big_endian(pointer: ir::Value, at: i32, b: Builder<'_, '_>) -> Word {
    let limbs = std::array::from_fn(|limb| {
        let offset = at + 24 - 8 * limb as i32;
        let part = b.ins().load(types::I64, unaligned(), pointer, offset);
        Limb::Value(b.ins().bswap(part))
    });
    Word::new(limbs, 256)
}

/// Writes a word as 32 bytes, `at` from a pointer.
pub(crate) fn store_big_endian(word: &Word, pointer: ir::Value, at: i32, b: Builder<'_, '_>) {
    let mut zero = None;
    for (limb, at) in word.limbs.iter().zip([at + 24, at + 16, at + 8, at]) {
        let part = match *limb {
            Limb::ZERO => *zero.get_or_insert_with(|| b.ins().iconst(types::I64, 0)),
            Limb::Const(bits) => b.ins().iconst(types::I64, bits.swap_bytes() as i64),
            limb => {
                let value = limb.value(b);
                b.ins().bswap(value)
            }
        };
        b.ins().store(unaligned(), part, pointer, at);
    }
}

/// An address of revm's frame input, which `input` points to: 20 bytes at `at`, big-endian.
pub(crate) fn address(input: ir::Value, at: i32, b: Builder<'_, '_>) -> Word {
    let mut part = |ty: ir::Type, offset: i32| {
        let bytes = b.ins().load(ty, unaligned(), input, at + offset);
        b.ins().bswap(bytes)
    };
    let (l0, l1, top) = (part(types::I64, 12), part(types::I64, 4), part(types::I32, 0));
    let l2 = b.ins().uextend(types::I64, top);
    Word::new([Limb::Value(l0), Limb::Value(l1), Limb::Value(l2), Limb::ZERO], 160)
}

/// The value that the frame was called with, from revm's frame input.
pub(crate) fn call_value(input: ir::Value, b: Builder<'_, '_>) -> Word {
    let limbs = std::array::from_fn(|limb| {
        let offset = offsets::INPUT_VALUE + 8 * limb as i32;
        Limb::Value(b.ins().load(types::I64, MemFlagsData::trusted(), input, offset))
    });
    Word::new(limbs, 256)
}
