//! What the opcodes compute, on constants: the words that revm's instructions push.

use crate::ir::opcode::Opcode;
use alloy_primitives::U256;

/// The result of an opcode that computes it from its arguments alone; `None` for any other. EXP
/// isn't among them, for it charges gas by its exponent.
pub fn evaluate(opcode: Opcode, args: &[U256]) -> Option<U256> {
    Some(match *args {
        [x] => match opcode {
            Opcode::ISZERO => U256::from(x.is_zero()),
            Opcode::NOT => !x,
            Opcode::CLZ => U256::from(x.leading_zeros()),
            _ => return None,
        },
        [x, y] => return evaluate_binary(opcode, x, y),
        [x, y, n] => match opcode {
            Opcode::ADDMOD => x.add_mod(y, n),
            Opcode::MULMOD => x.mul_mod(y, n),
            _ => return None,
        },
        _ => return None,
    })
}

fn evaluate_binary(opcode: Opcode, x: U256, y: U256) -> Option<U256> {
    Some(match opcode {
        Opcode::ADD => x.wrapping_add(y),
        Opcode::MUL => x.wrapping_mul(y),
        Opcode::SUB => x.wrapping_sub(y),
        Opcode::DIV => x.checked_div(y).unwrap_or_default(),
        Opcode::SDIV => signed_div(x, y),
        Opcode::MOD => x.checked_rem(y).unwrap_or_default(),
        Opcode::SMOD => signed_rem(x, y),
        Opcode::SIGNEXTEND => sign_extend(x, y),
        Opcode::LT => U256::from(x < y),
        Opcode::GT => U256::from(x > y),
        Opcode::SLT => U256::from(flip_sign(x) < flip_sign(y)),
        Opcode::SGT => U256::from(flip_sign(x) > flip_sign(y)),
        Opcode::EQ => U256::from(x == y),
        Opcode::AND => x & y,
        Opcode::OR => x | y,
        Opcode::XOR => x ^ y,
        Opcode::BYTE => match usize::try_from(x) {
            Ok(index @ 0..32) => U256::from(y.byte(31 - index)),
            _ => U256::ZERO,
        },
        Opcode::SHL => shift_amount(x).map_or(U256::ZERO, |amount| y << amount),
        Opcode::SHR => shift_amount(x).map_or(U256::ZERO, |amount| y >> amount),
        // Shifting by 255 leaves copies of the sign, as any more does.
        Opcode::SAR => y.arithmetic_shr(shift_amount(x).unwrap_or(255)),
        _ => return None,
    })
}

/// The amount of a shift that leaves anything of a word.
pub(crate) fn shift_amount(word: U256) -> Option<usize> {
    usize::try_from(word).ok().filter(|&amount| amount < 256)
}

fn is_negative(word: U256) -> bool {
    word.bit(255)
}

/// Maps the order of signed words to that of unsigned ones.
fn flip_sign(word: U256) -> U256 {
    word ^ (U256::from(1) << 255)
}

fn magnitude(word: U256) -> U256 {
    if is_negative(word) { word.wrapping_neg() } else { word }
}

/// Rounds to zero. The least word divided by -1 is itself: its magnitude has no positive word.
fn signed_div(x: U256, y: U256) -> U256 {
    let quotient = magnitude(x).checked_div(magnitude(y)).unwrap_or_default();
    if is_negative(x) == is_negative(y) { quotient } else { quotient.wrapping_neg() }
}

/// Has the sign of the dividend.
fn signed_rem(x: U256, y: U256) -> U256 {
    let remainder = magnitude(x).checked_rem(magnitude(y)).unwrap_or_default();
    if is_negative(x) { remainder.wrapping_neg() } else { remainder }
}

fn sign_extend(index: U256, word: U256) -> U256 {
    let Some(index) = usize::try_from(index).ok().filter(|&index| index < 31) else { return word };
    let sign = 8 * index + 7;
    let mask = (U256::from(1) << sign) - U256::from(1);
    if word.bit(sign) { word | !mask } else { word & mask }
}
