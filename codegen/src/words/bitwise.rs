//! Logic, comparisons and shifts by constants on words.

use super::{
    Builder,
    word::{Limb, Word, compare_zero},
};
use cranelift_codegen::ir::{InstBuilder, condcodes::IntCC, types};
use revm_primitives::U256;

fn limbwise(
    x: &Word,
    y: &Word,
    b: Builder<'_, '_>,
    op: impl Fn(Limb, Limb, Builder<'_, '_>) -> Limb,
) -> [Limb; 4] {
    std::array::from_fn(|index| op(x.limbs[index], y.limbs[index], b))
}

/// `x & y`
pub(crate) fn and(x: Word, y: Word, b: Builder<'_, '_>) -> Word {
    Word::new(limbwise(&x, &y, b, |x, y, b| x.and(y, b)), x.bits.min(y.bits))
}

/// `x | y`
pub(crate) fn or(x: Word, y: Word, b: Builder<'_, '_>) -> Word {
    Word::new(limbwise(&x, &y, b, |x, y, b| x.or(y, b)), x.bits.max(y.bits))
}

/// `x ^ y`
pub(crate) fn xor(x: Word, y: Word, b: Builder<'_, '_>) -> Word {
    Word::new(limbwise(&x, &y, b, |x, y, b| x.xor(y, b)), x.bits.max(y.bits))
}

/// `!x`
pub(crate) fn not(x: Word, b: Builder<'_, '_>) -> Word {
    Word::new(x.limbs.map(|limb| limb.not(b)), 256)
}

/// A limb that is 0 or 1, as a word.
fn from_flag(limb: Limb) -> Word {
    Word::new([limb, Limb::ZERO, Limb::ZERO, Limb::ZERO], 1)
}

/// `x == 0`
pub(crate) fn is_zero(x: Word, b: Builder<'_, '_>) -> Word {
    let union = x.union(b);
    from_flag(compare_zero(IntCC::Equal, union, b))
}

/// `x == y`
pub(crate) fn equal(x: Word, y: Word, b: Builder<'_, '_>) -> Word {
    if x.is_narrow() && y.is_narrow() {
        if let (Limb::Const(x), Limb::Const(y)) = (x.limbs[0], y.limbs[0]) {
            return Word::bool(x == y);
        }
        let (x, y) = (x.limbs[0].value(b), y.limbs[0].value(b));
        return Word::flag(b.ins().icmp(IntCC::Equal, x, y));
    }
    let difference = limbwise(&x, &y, b, |x, y, b| x.xor(y, b));
    is_zero(Word { limbs: difference, bits: 256 }, b)
}

/// `x < y`, unsigned.
pub(crate) fn less_than(x: Word, y: Word, b: Builder<'_, '_>) -> Word {
    if let (Some(x), Some(y)) = (x.as_const(), y.as_const()) {
        return Word::bool(x < y);
    }
    if y.bits == 0 {
        return Word::bool(false);
    }
    if x.bits == 0 {
        let union = y.union(b);
        return from_flag(compare_zero(IntCC::NotEqual, union, b));
    }
    if x.is_narrow() || y.is_narrow() {
        return less_than_narrow(x, y, b);
    }
    if x.bits <= 128 && y.bits <= 128 {
        let (x, y) = (x.low128(b), y.low128(b));
        return Word::flag(b.ins().icmp(IntCC::UnsignedLessThan, x, y));
    }
    wide_less_than(IntCC::UnsignedLessThan, &x, &y, b)
}

/// `x < y` where one of them fits a limb: the other's upper limbs decide, or the low ones do.
fn less_than_narrow(x: Word, y: Word, b: Builder<'_, '_>) -> Word {
    let (x0, y0) = (x.limbs[0].value(b), y.limbs[0].value(b));
    let low = Limb::Flag(b.ins().icmp(IntCC::UnsignedLessThan, x0, y0));
    if !y.is_narrow() {
        let high = y.high_union(b);
        let high = compare_zero(IntCC::NotEqual, high, b);
        return from_flag(high.or(low, b));
    }
    if !x.is_narrow() {
        let high = x.high_union(b);
        let fits = compare_zero(IntCC::Equal, high, b);
        return from_flag(match fits {
            Limb::Const(0) => Limb::ZERO,
            Limb::Const(_) => low,
            fits => fits.and(low, b),
        });
    }
    from_flag(low)
}

fn wide_less_than(high_cc: IntCC, x: &Word, y: &Word, b: Builder<'_, '_>) -> Word {
    let (x_low, y_low) = (x.low128(b), y.low128(b));
    let (x_high, y_high) = (x.high128(b), y.high128(b));
    let low = b.ins().icmp(IntCC::UnsignedLessThan, x_low, y_low);
    let high = b.ins().icmp(high_cc, x_high, y_high);
    let same = b.ins().icmp(IntCC::Equal, x_high, y_high);
    Word::flag(b.ins().select(same, low, high))
}

/// `x < y`, two's complement.
pub(crate) fn signed_less_than(x: Word, y: Word, b: Builder<'_, '_>) -> Word {
    if x.bits < 256 && y.bits < 256 {
        return less_than(x, y, b);
    }
    if let (Some(x), Some(y)) = (x.as_const(), y.as_const()) {
        let flip = |word: U256| word ^ (U256::from(1) << 255);
        return Word::bool(flip(x) < flip(y));
    }
    if y.bits == 0 {
        let top = x.limbs[3].value(b);
        return Word::flag(b.ins().icmp_imm_s(IntCC::SignedLessThan, top, 0));
    }
    if x.bits == 0 {
        let top = y.limbs[3].value(b);
        let positive = b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, top, 0);
        let union = y.union(b);
        let nonzero = compare_zero(IntCC::NotEqual, union, b);
        return from_flag(Limb::Flag(positive).and(nonzero, b));
    }
    wide_less_than(IntCC::SignedLessThan, &x, &y, b)
}

/// `BYTE` with a constant index: 0 is the most significant byte.
pub(crate) fn byte(index: U256, x: Word, b: Builder<'_, '_>) -> Word {
    let Some(index) = usize::try_from(index).ok().filter(|&index| index < 32) else {
        return Word::bool(false);
    };
    let from_low = 31 - index;
    let limb = x.limbs[from_low / 8].shr((from_low % 8 * 8) as u32, b);
    Word::new([limb.and(Limb::Const(0xff), b), Limb::ZERO, Limb::ZERO, Limb::ZERO], 8)
}

/// `SHL` by a constant.
pub(crate) fn shl(amount: U256, x: Word, b: Builder<'_, '_>) -> Word {
    let Some(amount) = usize::try_from(amount).ok().filter(|&amount| amount < 256) else {
        return Word::bool(false);
    };
    let (limbs, bits) = (amount / 64, (amount % 64) as u32);
    let shifted = std::array::from_fn(|index| {
        let Some(from) = index.checked_sub(limbs) else { return Limb::ZERO };
        let high = x.limbs[from].shl(bits, b);
        match from.checked_sub(1) {
            Some(below) if bits != 0 => high.or(x.limbs[below].shr(64 - bits, b), b),
            _ => high,
        }
    });
    Word::new(shifted, (x.bits + amount as u16).min(256))
}

/// `SHR` by a constant.
pub(crate) fn shr(amount: U256, x: Word, b: Builder<'_, '_>) -> Word {
    match usize::try_from(amount) {
        Ok(amount) if amount < usize::from(x.bits) => {
            Word::new(shift_right(amount, &x, Limb::ZERO, b), x.bits - amount as u16)
        }
        _ => Word::bool(false),
    }
}

/// `SAR` by a constant.
pub(crate) fn sar(amount: U256, x: Word, b: Builder<'_, '_>) -> Word {
    if x.bits < 256 {
        return shr(amount, x, b);
    }
    let sign = x.limbs[3].sar(63, b);
    match usize::try_from(amount) {
        Ok(0) => x,
        Ok(amount) if amount < 256 => Word::new(shift_right(amount, &x, sign, b), 256),
        _ => Word::new([sign; 4], 256),
    }
}

/// Shifts right by less than 256 with `fill` coming in: zero, or copies of the sign.
fn shift_right(amount: usize, x: &Word, fill: Limb, b: Builder<'_, '_>) -> [Limb; 4] {
    let (limbs, bits) = (amount / 64, (amount % 64) as u32);
    std::array::from_fn(|index| {
        let from = index + limbs;
        if from > 3 {
            return fill;
        }
        if bits == 0 {
            return x.limbs[from];
        }
        if from == 3 && !fill.is_zero() {
            return x.limbs[3].sar(bits, b);
        }
        let above = x.limbs.get(from + 1).copied().unwrap_or(Limb::ZERO);
        let low = x.limbs[from].shr(bits, b);
        low.or(above.shl(64 - bits, b), b)
    })
}

/// `SIGNEXTEND` of the byte at a constant index, 0 the least significant.
pub(crate) fn sign_extend(index: U256, x: Word, b: Builder<'_, '_>) -> Word {
    let Some(index) = usize::try_from(index).ok().filter(|&index| index < 31) else {
        return x;
    };
    let (at, bits) = (index / 8, (index % 8 * 8 + 8) as u32);
    let signed = x.limbs[at].shl(64 - bits, b).sar(64 - bits, b);
    let sign = signed.sar(63, b);
    let limbs = std::array::from_fn(|limb| match limb {
        limb if limb < at => x.limbs[limb],
        limb if limb == at => signed,
        _ => sign,
    });
    Word::new(limbs, 256)
}

/// `CLZ` (EIP-7939).
pub(crate) fn leading_zeros(x: Word, b: Builder<'_, '_>) -> Word {
    if let Some(x) = x.as_const() {
        return Word::constant(U256::from(x.leading_zeros()));
    }
    let l0 = x.limbs[0].value(b);
    let mut count = b.ins().clz(l0);
    for limb in &x.limbs[1..] {
        let below = b.ins().iadd_imm_s(count, 64);
        let limb = limb.value(b);
        let here = b.ins().clz(limb);
        let is_zero = b.ins().icmp_imm_s(IntCC::Equal, limb, 0);
        count = b.ins().select(is_zero, below, here);
    }
    debug_assert_eq!(b.func.dfg.value_type(count), types::I64);
    Word::narrow(count, 9)
}
