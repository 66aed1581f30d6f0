//! ADD, SUB and MUL on words, by the width of their operands.
//!
//! The sequences are the shortest measured for Cranelift (see `docs/architecture.md`): `i128`
//! inside one operation, 64-bit limbs between operations.

use super::{
    Builder,
    word::{Limb, Word, split},
};
use cranelift_codegen::ir::{self, InstBuilder, condcodes::IntCC, types};

/// `x + y` mod 2^256.
pub(crate) fn add(x: Word, y: Word, b: Builder<'_, '_>) -> Word {
    if let (Some(x), Some(y)) = (x.as_const(), y.as_const()) {
        return Word::constant(x.wrapping_add(y));
    }
    if x.bits == 0 {
        return y;
    }
    if y.bits == 0 {
        return x;
    }
    let bits = x.bits.max(y.bits) + 1;
    if bits <= 64 {
        let (x, y) = (x.limbs[0].value(b), y.limbs[0].value(b));
        return Word::narrow(b.ins().iadd(x, y), bits);
    }
    let (x_low, y_low) = (x.low128(b), y.low128(b));
    if bits <= 128 {
        let [l0, l1] = split(b.ins().iadd(x_low, y_low), b);
        return Word::new([l0, l1, Limb::ZERO, Limb::ZERO], bits);
    }
    let (low, carry) = b.ins().uadd_overflow(x_low, y_low);
    let carry = b.ins().uextend(types::I128, carry);
    let high = add_high(&x, &y, b);
    let high = match high {
        Some(high) => b.ins().iadd(high, carry),
        None => carry,
    };
    let ([l0, l1], [l2, l3]) = (split(low, b), split(high, b));
    Word::new([l0, l1, l2, l3], bits)
}

/// The sum of the upper halves, `None` for zero.
fn add_high(x: &Word, y: &Word, b: Builder<'_, '_>) -> Option<ir::Value> {
    match (x.bits > 128, y.bits > 128) {
        (false, false) => None,
        (true, false) => Some(x.high128(b)),
        (false, true) => Some(y.high128(b)),
        (true, true) => {
            let (x, y) = (x.high128(b), y.high128(b));
            Some(b.ins().iadd(x, y))
        }
    }
}

/// `x - y` mod 2^256.
pub(crate) fn sub(x: Word, y: Word, b: Builder<'_, '_>) -> Word {
    if let (Some(x), Some(y)) = (x.as_const(), y.as_const()) {
        return Word::constant(x.wrapping_sub(y));
    }
    if y.bits == 0 {
        return x;
    }
    if x.is_narrow() && y.is_narrow() {
        let (x, y) = (x.limbs[0].value(b), y.limbs[0].value(b));
        let difference = b.ins().isub(x, y);
        let borrow = b.ins().icmp(IntCC::UnsignedLessThan, x, y);
        let borrow = b.ins().uextend(types::I64, borrow);
        let sign = Limb::Value(b.ins().ineg(borrow));
        return Word::new([Limb::Value(difference), sign, sign, sign], 256);
    }
    let (x_low, y_low) = (x.low128(b), y.low128(b));
    let (low, borrow) = b.ins().usub_overflow(x_low, y_low);
    let borrow = b.ins().uextend(types::I128, borrow);
    let mut high = x.high128(b);
    if y.bits > 128 {
        let y_high = y.high128(b);
        high = b.ins().isub(high, y_high);
    }
    let high = b.ins().isub(high, borrow);
    let ([l0, l1], [l2, l3]) = (split(low, b), split(high, b));
    Word::new([l0, l1, l2, l3], 256)
}

/// `x * y` mod 2^256: the products of limbs row by row, those of known-zero limbs left out.
pub(crate) fn mul(x: Word, y: Word, b: Builder<'_, '_>) -> Word {
    if let (Some(x), Some(y)) = (x.as_const(), y.as_const()) {
        return Word::constant(x.wrapping_mul(y));
    }
    if x.bits == 0 || y.bits == 0 {
        return Word::constant(Default::default());
    }
    let bits = x.bits + y.bits;
    if bits <= 64 {
        let (x, y) = (x.limbs[0].value(b), y.limbs[0].value(b));
        return Word::narrow(b.ins().imul(x, y), bits);
    }
    let mut product = Product { limbs: [None; 4] };
    for (i, x_limb) in x.limbs.into_iter().enumerate() {
        if x_limb.is_zero() {
            continue;
        }
        let x_limb = x_limb.value(b);
        let mut carry = None;
        for (j, y_limb) in y.limbs.into_iter().enumerate().take(4 - i) {
            if y_limb.is_zero() {
                carry = product.add_carry(i + j, carry, b);
                continue;
            }
            let y_limb = y_limb.value(b);
            carry = product.add_product(i + j, x_limb, y_limb, carry, b);
        }
    }
    let limbs = product.limbs.map(|limb| limb.map_or(Limb::ZERO, Limb::Value));
    Word::new(limbs, bits.min(256))
}

/// The sum of the rows so far. `None` is zero.
struct Product {
    limbs: [Option<ir::Value>; 4],
}

impl Product {
    /// Adds `x * y + carry` at limb `at`; returns the carry into the next limb.
    fn add_product(
        &mut self,
        at: usize,
        x: ir::Value,
        y: ir::Value,
        carry: Option<ir::Value>,
        b: Builder<'_, '_>,
    ) -> Option<ir::Value> {
        if at == 3 {
            let mut sum = b.ins().imul(x, y);
            for term in [self.limbs[at], carry].into_iter().flatten() {
                sum = b.ins().iadd(sum, term);
            }
            self.limbs[at] = Some(sum);
            return None;
        }
        // (2^64-1)^2 + 2 (2^64-1) = 2^128 - 1: the sum can't overflow.
        let (x, y) = (b.ins().uextend(types::I128, x), b.ins().uextend(types::I128, y));
        let mut sum = b.ins().imul(x, y);
        for term in [self.limbs[at], carry].into_iter().flatten() {
            let term = b.ins().uextend(types::I128, term);
            sum = b.ins().iadd(sum, term);
        }
        let (low, high) = b.ins().isplit(sum);
        self.limbs[at] = Some(low);
        Some(high)
    }

    /// Adds a carry at limb `at`; returns the carry into the next limb.
    fn add_carry(
        &mut self,
        at: usize,
        carry: Option<ir::Value>,
        b: Builder<'_, '_>,
    ) -> Option<ir::Value> {
        let carry = carry?;
        let Some(limb) = self.limbs[at] else {
            self.limbs[at] = Some(carry);
            return None;
        };
        if at == 3 {
            self.limbs[at] = Some(b.ins().iadd(limb, carry));
            return None;
        }
        let (sum, overflow) = b.ins().uadd_overflow(limb, carry);
        self.limbs[at] = Some(sum);
        Some(b.ins().uextend(types::I64, overflow))
    }
}
