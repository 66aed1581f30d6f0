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
words_builtin! {
    /// `BYTE`: revm's `bitwise::byte`.
    byte(index at 1, value at 2) = byte_at
}

/// The shift amount, or `None` where it shifts everything out.
fn in_range(amount: U256) -> Option<usize> {
    usize::try_from(amount).ok().filter(|&amount| amount < 256)
}

fn shifted_left(amount: U256, value: U256) -> U256 {
    let Some(amount) = in_range(amount) else { return U256::ZERO };
    let [l0, l1, l2, l3] = *value.as_limbs();
    let bits = amount % 64;
    // A branch on the number of limbs: at one place in a contract it is nearly always the same.
    U256::from_limbs(match amount / 64 {
        0 => [l0 << bits, left(l1, l0, bits), left(l2, l1, bits), left(l3, l2, bits)],
        1 => [0, l0 << bits, left(l1, l0, bits), left(l2, l1, bits)],
        2 => [0, 0, l0 << bits, left(l1, l0, bits)],
        _ => [0, 0, 0, l0 << bits],
    })
}

/// The byte at an index, counted from the most significant one.
fn byte_at(index: U256, value: U256) -> U256 {
    let index = usize::try_from(index).ok().filter(|&index| index < 32);
    index.map_or(U256::ZERO, |index| U256::from(value.byte(31 - index)))
}

/// The upper limb of two, shifted left by less than 64.
fn left(high: u64, low: u64, bits: usize) -> u64 {
    // In two steps, for the lower limb's shift may be by 64 in all.
    (high << bits) | ((low >> 1) >> (63 - bits))
}

/// The lower limb of two, shifted right by less than 64.
fn right(high: u64, low: u64, bits: usize) -> u64 {
    (low >> bits) | ((high << 1) << (63 - bits))
}

fn shifted_right(amount: U256, value: U256) -> U256 {
    in_range(amount).map_or(U256::ZERO, |amount| shifted_right_with(amount, value, 0))
}

fn shifted_right_signed(amount: U256, value: U256) -> U256 {
    let fill = if value.bit(255) { u64::MAX } else { 0 };
    match in_range(amount) {
        Some(amount) => shifted_right_with(amount, value, fill),
        None => U256::from_limbs([fill; 4]),
    }
}

/// Shifts right by less than 256, with copies of `fill` coming in.
fn shifted_right_with(amount: usize, value: U256, fill: u64) -> U256 {
    let [l0, l1, l2, l3] = *value.as_limbs();
    let bits = amount % 64;
    let top = right(fill, l3, bits);
    U256::from_limbs(match amount / 64 {
        0 => [right(l1, l0, bits), right(l2, l1, bits), right(l3, l2, bits), top],
        1 => [right(l2, l1, bits), right(l3, l2, bits), top, fill],
        2 => [right(l3, l2, bits), top, fill, fill],
        _ => [top, fill, fill, fill],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_from_the_top() {
        let bytes: [u8; 32] = std::array::from_fn(|at| at as u8 + 1);
        let value = U256::from_be_bytes(bytes);
        for (at, byte) in bytes.into_iter().enumerate() {
            assert_eq!(byte_at(U256::from(at), value), U256::from(byte));
        }
        for beyond in [U256::from(32), U256::from(1) << 64, U256::MAX] {
            assert_eq!(byte_at(beyond, value), U256::ZERO);
        }
    }

    #[test]
    fn shifts_agree_with_the_words_own() {
        let words = [
            U256::ZERO,
            U256::from(1),
            U256::MAX,
            U256::from(1) << 255,
            U256::from_limbs([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 7, 1 << 63]),
            U256::from_limbs([u64::MAX, 0, u64::MAX, u64::MAX >> 1]),
        ];
        for value in words {
            for amount in 0..256 {
                let by = U256::from(amount);
                assert_eq!(shifted_left(by, value), value << amount, "{value:#x} << {amount}");
                assert_eq!(shifted_right(by, value), value >> amount, "{value:#x} >> {amount}");
                let signed = value.arithmetic_shr(amount);
                assert_eq!(shifted_right_signed(by, value), signed, "{value:#x} >>> {amount}");
            }
            for by in [U256::from(256), U256::from(1) << 64, U256::MAX] {
                assert_eq!(shifted_left(by, value), U256::ZERO);
                assert_eq!(shifted_right(by, value), U256::ZERO);
                let fill = if value.bit(255) { U256::MAX } else { U256::ZERO };
                assert_eq!(shifted_right_signed(by, value), fill);
            }
        }
    }
}
