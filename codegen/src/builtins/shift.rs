//! Shifts by an amount that isn't constant (EIP-145), under the stack-call convention.

use super::math::{load, words_builtin};
use revm_primitives::U256;

words_builtin! {
    /// `SHL`: revm's `bitwise::shl`.
    shl(amount at 1, value at 2) = shifted_left
}
words_builtin! {
    /// `SHR`: revm's `bitwise::shr`.
    shr(amount at 1, value at 2) = shifted_right
}
words_builtin! {
    /// `SAR`: revm's `bitwise::sar`.
    sar(amount at 1, value at 2) = shifted_right_signed
}

/// The shift amount, or `None` where it shifts everything out.
fn in_range(amount: U256) -> Option<usize> {
    usize::try_from(amount).ok().filter(|&amount| amount < 256)
}

fn shifted_left(amount: U256, value: U256) -> U256 {
    in_range(amount).map_or(U256::ZERO, |amount| value << amount)
}

fn shifted_right(amount: U256, value: U256) -> U256 {
    in_range(amount).map_or(U256::ZERO, |amount| value >> amount)
}

fn shifted_right_signed(amount: U256, value: U256) -> U256 {
    match in_range(amount) {
        Some(amount) => value.arithmetic_shr(amount),
        None if value.bit(255) => U256::MAX,
        None => U256::ZERO,
    }
}
