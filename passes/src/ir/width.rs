//! How many bits the result of an opcode can have, by those of its arguments.
//!
//! Nothing is said of an opcode that compiled code leaves to the interpreter's own instruction
//! (ORIGIN, TIMESTAMP, EXTCODESIZE, ...): a chain may have replaced that instruction.

use super::entities::Value;
use super::opcode::Opcode;
use super::program::{ValueData, ValueDef};
use alloy_primitives::U256;
use cranelift_entity::PrimaryMap;

/// Bits of a word of which nothing is known.
pub const WORD_BITS: u16 = 256;

/// Bits of an account's address.
pub const ADDRESS_BITS: u16 = 160;

/// Bits of what the machine counts in a register: gas, and lengths of byte strings.
pub const COUNT_BITS: u16 = 64;

/// Bits of a constant.
pub fn constant_bits(word: U256) -> u16 {
    word.bit_len() as u16
}

/// An upper bound on the bits of an opcode's result; [`WORD_BITS`] if nothing is known, also of
/// arguments that aren't as many as the opcode takes.
pub fn result_bits(opcode: Opcode, args: &[Value], values: &PrimaryMap<Value, ValueData>) -> u16 {
    let bits = |value: Value| values[value].bits;
    let constant = |value: Value| match values[value].def {
        ValueDef::Const(word) => Some(word),
        _ => None,
    };
    match *args {
        [] => match opcode {
            Opcode::ADDRESS | Opcode::CALLER => ADDRESS_BITS,
            Opcode::GAS | Opcode::MSIZE | Opcode::CALLDATASIZE | Opcode::RETURNDATASIZE => {
                COUNT_BITS
            }
            _ => WORD_BITS,
        },
        [_] => match opcode {
            Opcode::ISZERO => 1,
            Opcode::CLZ => 9,
            _ => WORD_BITS,
        },
        [x, y] => binary_bits(opcode, (bits(x), constant(x)), (bits(y), constant(y))),
        [_, _, n] if matches!(opcode, Opcode::ADDMOD | Opcode::MULMOD) => {
            remainder_bits(bits(n), constant(n))
        }
        _ => WORD_BITS,
    }
}

type Known = (u16, Option<U256>);

fn binary_bits(opcode: Opcode, (x, x_const): Known, (y, y_const): Known) -> u16 {
    // The first operand of a shift, or as good as infinite.
    let amount = x_const.map(|word| u16::try_from(word).unwrap_or(u16::MAX));
    let are_positive = x < WORD_BITS && y < WORD_BITS;
    let bits = match opcode {
        Opcode::LT | Opcode::GT | Opcode::SLT | Opcode::SGT | Opcode::EQ => 1,
        Opcode::ADD if x == 0 || y == 0 => x + y,
        Opcode::ADD => x.max(y) + 1,
        Opcode::MUL if x == 0 || y == 0 => 0,
        Opcode::MUL => x + y,
        Opcode::DIV => quotient_bits(x, y_const),
        Opcode::SDIV if are_positive => quotient_bits(x, y_const),
        Opcode::MOD => x.min(remainder_bits(y, y_const)),
        Opcode::SMOD if are_positive => x.min(remainder_bits(y, y_const)),
        Opcode::AND => x.min(y),
        Opcode::OR | Opcode::XOR => x.max(y),
        Opcode::BYTE => y.min(8),
        Opcode::SHL if y == 0 => 0,
        Opcode::SHL => match amount {
            Some(256..) => 0,
            Some(amount) => y + amount,
            None => WORD_BITS,
        },
        Opcode::SHR => y.saturating_sub(amount.unwrap_or(0)),
        Opcode::SAR if y < WORD_BITS => y.saturating_sub(amount.unwrap_or(0)),
        Opcode::SIGNEXTEND => match amount {
            // The sign bit is known to be zero, or nothing is extended.
            Some(31..) => y,
            Some(index) if y < 8 * (index + 1) => y,
            _ => WORD_BITS,
        },
        _ => WORD_BITS,
    };
    bits.min(WORD_BITS)
}

/// Bits of a quotient; zero if the divisor is.
fn quotient_bits(dividend: u16, divisor: Option<U256>) -> u16 {
    match divisor {
        Some(divisor) if divisor.is_zero() => 0,
        Some(divisor) => (dividend + 1).saturating_sub(constant_bits(divisor)),
        None => dividend,
    }
}

/// Bits of a remainder: one less than the modulus at most, or zero.
fn remainder_bits(modulus: u16, constant: Option<U256>) -> u16 {
    match constant {
        Some(modulus) => constant_bits(modulus.saturating_sub(U256::from(1))),
        None => modulus,
    }
}
