//! The rules, in tables by the shape of the operands. Later arms are tried when earlier ones don't
//! match; a row is `instruction => what it becomes`.

use super::Rewrite::{self, Binary, Const, Same, Unary};
use super::{Facts, Operand, has_constant_first, is_commutative};
use crate::ir::evaluate::{evaluate, shift_amount};
use crate::ir::opcode::Opcode;
use crate::ir::width::{WORD_BITS, constant_bits};
use alloy_primitives::U256;

const ZERO: U256 = U256::ZERO;
const ONE: U256 = U256::ONE;
const ONES: U256 = U256::MAX;

/// What one rule makes of an opcode with these operands, if any matches.
pub(super) fn rewrite(facts: Facts<'_>, opcode: Opcode, operands: &[Operand]) -> Option<Rewrite> {
    match *operands {
        [x] => unary(facts, opcode, x),
        [x, y] => binary(facts, opcode, x, y),
        [x, y, n] => modular(opcode, x, y, n),
        _ => None,
    }
}

fn binary(facts: Facts<'_>, opcode: Opcode, x: Operand, y: Operand) -> Option<Rewrite> {
    let rule = match (x, y) {
        (Operand::Const(a), Operand::Const(b)) => return evaluate(opcode, &[a, b]).map(Const),
        (Operand::Const(c), _) if has_constant_first(opcode) || is_commutative(opcode) => {
            with_constant(facts, opcode, y, c)
        }
        (Operand::Const(c), _) => with_unusual_constant(facts, opcode, c, y),
        (_, Operand::Const(c)) if has_constant_first(opcode) => of_constant(opcode, c),
        (_, Operand::Const(c)) => with_constant(facts, opcode, x, c),
        _ if x == y => with_itself(opcode, x),
        _ => None,
    };
    rule.or_else(|| without_sign(facts, opcode, x, y))
}

fn unary(facts: Facts<'_>, opcode: Opcode, x: Operand) -> Option<Rewrite> {
    if let Operand::Const(word) = x {
        return evaluate(opcode, &[word]).map(Const);
    }
    let (inner, &[z]) = facts.definition(x)? else { return None };
    let z = facts.operand(z);
    match (opcode, inner) {
        (Opcode::NOT, Opcode::NOT) => Some(Same(z)),
        (Opcode::ISZERO, Opcode::ISZERO) if facts.bits(z) <= 1 => Some(Same(z)),
        _ => None,
    }
}

/// `x op c`, or `c op x` where the constant usually comes first.
fn with_constant(facts: Facts<'_>, opcode: Opcode, x: Operand, c: U256) -> Option<Rewrite> {
    match opcode {
        Opcode::ADD | Opcode::SUB | Opcode::MUL => linear(facts, opcode, x, c),
        Opcode::DIV | Opcode::MOD | Opcode::SDIV | Opcode::SMOD => division(facts, opcode, x, c),
        Opcode::AND | Opcode::OR | Opcode::XOR => logic(facts, opcode, x, c),
        Opcode::EQ | Opcode::LT | Opcode::GT | Opcode::SLT | Opcode::SGT => {
            comparison(facts, opcode, x, c)
        }
        Opcode::SHL | Opcode::SHR | Opcode::SAR => shift(facts, opcode, c, x),
        Opcode::BYTE => byte(facts, c, x),
        Opcode::SIGNEXTEND => sign_extend(facts, c, x),
        _ => None,
    }
}

/// Sums and products with a constant.
fn linear(facts: Facts<'_>, opcode: Opcode, x: Operand, c: U256) -> Option<Rewrite> {
    Some(match (opcode, facts.inner(x)) {
        (Opcode::ADD | Opcode::SUB, _) if c == ZERO => Same(x),
        (Opcode::ADD, Some((Opcode::ADD, z, d))) => by(Opcode::ADD, z, c.wrapping_add(d)),
        (Opcode::ADD, Some((Opcode::SUB, z, d))) => by(Opcode::ADD, z, c.wrapping_sub(d)),
        (Opcode::SUB, Some((Opcode::SUB, z, d))) => by(Opcode::SUB, z, c.wrapping_add(d)),
        (Opcode::SUB, Some((Opcode::ADD, z, d))) => by(Opcode::ADD, z, d.wrapping_sub(c)),
        (Opcode::MUL, _) if c == ZERO => Const(ZERO),
        (Opcode::MUL, _) if c == ONE => Same(x),
        (Opcode::MUL, _) if c.is_power_of_two() && facts.has_shifts => {
            by(Opcode::SHL, x, U256::from(c.trailing_zeros()))
        }
        (Opcode::MUL, Some((Opcode::MUL, z, d))) => by(Opcode::MUL, z, c.wrapping_mul(d)),
        _ => return None,
    })
}

/// Quotients and remainders by a constant.
fn division(facts: Facts<'_>, opcode: Opcode, x: Operand, c: U256) -> Option<Rewrite> {
    let exceeds = constant_bits(c) > facts.bits(x);
    Some(match opcode {
        _ if c == ZERO => Const(ZERO),
        Opcode::DIV | Opcode::SDIV if c == ONE => Same(x),
        Opcode::MOD | Opcode::SMOD if c == ONE => Const(ZERO),
        Opcode::DIV if exceeds => Const(ZERO),
        Opcode::DIV if c.is_power_of_two() && facts.has_shifts => {
            by(Opcode::SHR, x, U256::from(c.trailing_zeros()))
        }
        Opcode::MOD if exceeds => Same(x),
        Opcode::MOD if c.is_power_of_two() => by(Opcode::AND, x, c - ONE),
        Opcode::SDIV if c == ONES => Binary(Opcode::SUB, Operand::Const(ZERO), x),
        Opcode::SMOD if c == ONES => Const(ZERO),
        _ => return None,
    })
}

/// Masks and the like.
fn logic(facts: Facts<'_>, opcode: Opcode, x: Operand, c: U256) -> Option<Rewrite> {
    let bits = usize::from(facts.bits(x));
    Some(match (opcode, facts.inner(x)) {
        (Opcode::AND, _) if c == ZERO || c.trailing_zeros() >= bits => Const(ZERO),
        // The mask keeps every bit that may be set.
        (Opcode::AND, _) if c.trailing_ones() >= bits => Same(x),
        (Opcode::AND, Some((Opcode::AND, z, d))) => by(Opcode::AND, z, c & d),
        // Nothing of the extension is left.
        (Opcode::AND, Some((Opcode::SIGNEXTEND, z, index)))
            if extended_bits(index).is_some_and(|bits| c.bit_len() <= bits) =>
        {
            by(Opcode::AND, z, c)
        }
        (Opcode::OR | Opcode::XOR, _) if c == ZERO => Same(x),
        (Opcode::OR, _) if c == ONES => Const(ONES),
        (Opcode::OR, Some((Opcode::OR, z, d))) => by(Opcode::OR, z, c | d),
        (Opcode::XOR, _) if c == ONES => Unary(Opcode::NOT, x),
        (Opcode::XOR, Some((Opcode::XOR, z, d))) => by(Opcode::XOR, z, c ^ d),
        _ => return None,
    })
}

/// Comparisons of a word with a constant: decided by the word's width, or a test for zero.
fn comparison(facts: Facts<'_>, opcode: Opcode, x: Operand, c: U256) -> Option<Rewrite> {
    let bits = facts.bits(x);
    let exceeds = constant_bits(c) > bits;
    let is_flag = bits <= 1;
    let is_greatest = c.trailing_ones() >= usize::from(bits);
    let is_positive = bits < WORD_BITS;
    let is_negative_constant = c.bit(255);
    Some(match opcode {
        Opcode::EQ if c == ZERO => Unary(Opcode::ISZERO, x),
        Opcode::EQ if c == ONE && is_flag => Same(x),
        Opcode::EQ if exceeds => Const(ZERO),
        Opcode::LT if c == ZERO => Const(ZERO),
        Opcode::LT if c == ONE => Unary(Opcode::ISZERO, x),
        Opcode::LT if exceeds => Const(ONE),
        Opcode::GT if c == ZERO && is_flag => Same(x),
        Opcode::GT if exceeds || is_greatest => Const(ZERO),
        Opcode::SLT if is_positive && (c == ZERO || is_negative_constant) => Const(ZERO),
        Opcode::SGT if is_positive && is_negative_constant => Const(ONE),
        _ => return None,
    })
}

/// Shifts of a word by a constant.
fn shift(facts: Facts<'_>, opcode: Opcode, c: U256, x: Operand) -> Option<Rewrite> {
    let Some(amount) = shift_amount(c) else {
        return (opcode != Opcode::SAR).then_some(Const(ZERO));
    };
    Some(match (opcode, facts.inner(x)) {
        _ if amount == 0 => Same(x),
        (Opcode::SHR, _) if amount >= usize::from(facts.bits(x)) => Const(ZERO),
        (Opcode::SHL, Some((Opcode::SHL, z, d))) => by(Opcode::SHL, z, c.saturating_add(d)),
        (Opcode::SHR, Some((Opcode::SHR, z, d))) => by(Opcode::SHR, z, c.saturating_add(d)),
        (Opcode::SAR, Some((Opcode::SAR, z, d))) => {
            by(Opcode::SAR, z, c.saturating_add(d).min(U256::from(255)))
        }
        // There and back: a mask.
        (Opcode::SHL, Some((Opcode::SHR, z, d))) if d == c => by(Opcode::AND, z, ONES << amount),
        (Opcode::SHR, Some((Opcode::SHL, z, d))) if d == c => by(Opcode::AND, z, ONES >> amount),
        // The mask keeps all that the shift does.
        (Opcode::SHR, Some((Opcode::AND, z, mask))) if mask >> amount == ONES >> amount => {
            by(Opcode::SHR, z, c)
        }
        _ => return None,
    })
}

/// A byte of a word, counted from the most significant.
fn byte(facts: Facts<'_>, c: U256, x: Operand) -> Option<Rewrite> {
    let Some(index) = usize::try_from(c).ok().filter(|&index| index < 32) else {
        return Some(Const(ZERO));
    };
    let (shift, bits) = (8 * (31 - index), usize::from(facts.bits(x)));
    Some(match index {
        _ if shift >= bits => Const(ZERO),
        31 => by(Opcode::AND, x, U256::from(0xff)),
        _ if bits <= shift + 8 && facts.has_shifts => by(Opcode::SHR, x, U256::from(shift)),
        _ => return None,
    })
}

/// The extension of a word from the byte at a constant index.
fn sign_extend(facts: Facts<'_>, c: U256, x: Operand) -> Option<Rewrite> {
    let Some(bits) = extended_bits(c) else { return Some(Same(x)) };
    Some(match facts.inner(x) {
        // The sign is known to be positive.
        _ if usize::from(facts.bits(x)) < bits => Same(x),
        Some((Opcode::SIGNEXTEND, _, d)) if d <= c => Same(x),
        Some((Opcode::SIGNEXTEND, z, _)) => by(Opcode::SIGNEXTEND, z, c),
        Some((Opcode::AND, z, mask)) if mask.trailing_ones() >= bits => {
            by(Opcode::SIGNEXTEND, z, c)
        }
        _ => return None,
    })
}

/// `c op y` of an opcode whose constant usually comes second.
fn with_unusual_constant(facts: Facts<'_>, opcode: Opcode, c: U256, y: Operand) -> Option<Rewrite> {
    let bits = facts.bits(y);
    let exceeds = constant_bits(c) > bits;
    let is_greatest = c.trailing_ones() >= usize::from(bits);
    let is_flag = bits <= 1;
    Some(match (opcode, facts.inner(y)) {
        (Opcode::SUB, _) if c == ONES => Unary(Opcode::NOT, y),
        (Opcode::SUB, Some((Opcode::ADD, z, d))) => {
            Binary(Opcode::SUB, Operand::Const(c.wrapping_sub(d)), z)
        }
        (Opcode::DIV | Opcode::SDIV | Opcode::MOD | Opcode::SMOD, _) if c == ZERO => Const(ZERO),
        (Opcode::LT, _) if exceeds || is_greatest => Const(ZERO),
        (Opcode::LT, _) if c == ZERO && is_flag => Same(y),
        (Opcode::GT, _) if c == ZERO => Const(ZERO),
        (Opcode::GT, _) if c == ONE => Unary(Opcode::ISZERO, y),
        (Opcode::GT, _) if exceeds => Const(ONE),
        _ => return None,
    })
}

/// A constant shifted, extended or indexed by an unknown amount.
fn of_constant(opcode: Opcode, c: U256) -> Option<Rewrite> {
    match opcode {
        _ if c == ZERO => Some(Const(ZERO)),
        Opcode::SAR | Opcode::SIGNEXTEND if c == ONES => Some(Const(ONES)),
        _ => None,
    }
}

/// `x op x`
fn with_itself(opcode: Opcode, x: Operand) -> Option<Rewrite> {
    Some(match opcode {
        Opcode::AND | Opcode::OR => Same(x),
        Opcode::EQ => Const(ONE),
        Opcode::SUB
        | Opcode::XOR
        | Opcode::MOD
        | Opcode::SMOD
        | Opcode::LT
        | Opcode::GT
        | Opcode::SLT
        | Opcode::SGT => Const(ZERO),
        _ => return None,
    })
}

/// Signed opcodes on words whose sign is known to be positive.
fn without_sign(facts: Facts<'_>, opcode: Opcode, x: Operand, y: Operand) -> Option<Rewrite> {
    let is_positive = |operand| facts.bits(operand) < WORD_BITS;
    let unsigned = match opcode {
        Opcode::SLT => Opcode::LT,
        Opcode::SGT => Opcode::GT,
        Opcode::SDIV => Opcode::DIV,
        Opcode::SMOD => Opcode::MOD,
        Opcode::SAR if is_positive(y) => return Some(Binary(Opcode::SHR, x, y)),
        _ => return None,
    };
    (is_positive(x) && is_positive(y)).then_some(Binary(unsigned, x, y))
}

/// ADDMOD and MULMOD.
fn modular(opcode: Opcode, x: Operand, y: Operand, n: Operand) -> Option<Rewrite> {
    if let (Operand::Const(x), Operand::Const(y), Operand::Const(n)) = (x, y, n) {
        return evaluate(opcode, &[x, y, n]).map(Const);
    }
    let (zero, one) = (Operand::Const(ZERO), Operand::Const(ONE));
    let neutral = if opcode == Opcode::ADDMOD { zero } else { one };
    match opcode {
        Opcode::ADDMOD | Opcode::MULMOD if n == zero || n == one => Some(Const(ZERO)),
        Opcode::MULMOD if x == zero || y == zero => Some(Const(ZERO)),
        Opcode::ADDMOD | Opcode::MULMOD if x == neutral => Some(Binary(Opcode::MOD, y, n)),
        Opcode::ADDMOD | Opcode::MULMOD if y == neutral => Some(Binary(Opcode::MOD, x, n)),
        _ => None,
    }
}

/// An opcode with a constant in its usual place.
fn by(opcode: Opcode, x: Operand, c: U256) -> Rewrite {
    match has_constant_first(opcode) {
        true => Binary(opcode, Operand::Const(c), x),
        false => Binary(opcode, x, Operand::Const(c)),
    }
}

/// Bits that SIGNEXTEND takes from its operand, the sign included; `None` if all.
fn extended_bits(index: U256) -> Option<usize> {
    usize::try_from(index).ok().filter(|&index| index < 31).map(|index| 8 * index + 8)
}
