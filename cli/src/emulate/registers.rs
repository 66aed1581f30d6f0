//! Registers by their part in aarch64's procedure call standard (AAPCS64).

use unicorn_engine::RegisterARM64::{self as Register, *};

/// A callee leaves these as they were. x18 is the platform's on Apple's systems: compiled code
/// doesn't touch it anywhere.
pub(super) const PRESERVED: [Register; 20] = [
    X18, X19, X20, X21, X22, X23, X24, X25, X26, X27, X28, X29, D8, D9, D10, D11, D12, D13, D14,
    D15,
];

/// What hold arguments, of builtins the first five.
pub(super) const ARGUMENTS: [Register; 5] = [X0, X1, X2, X3, X4];

/// What a callee may change. The first two hold results.
pub(super) const SCRATCH: [Register; 41] = [
    X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X17, D0, D1, D2, D3, D4,
    D5, D6, D7, D16, D17, D18, D19, D20, D21, D22, D23, D24, D25, D26, D27, D28, D29, D30, D31,
];

/// The one that a stub tells its number in: the first that the standard leaves to code between
/// caller and callee.
pub(super) const STUB: Register = X16;

/// The stack pointer.
pub(super) const STACK: Register = SP;

/// The address that a function returns to.
pub(super) const LINK: Register = X30;

/// System register: whether floating point and vectors may be used.
pub(super) const COPROCESSOR_ACCESS: Register = CPACR_EL1;

/// Floating point and vectors don't trap, in [`COPROCESSOR_ACCESS`].
pub(super) const NO_TRAPS: u64 = 0b11 << 20;

/// What a register holds of which nothing may be expected.
pub(super) const JUNK: u64 = 0xbad0_bad1_bad2_bad3;

/// What is in the preserved registers before a run: a different number in each.
pub(super) fn marks() -> [u64; PRESERVED.len()] {
    std::array::from_fn(|index| 0x5afe_0000_0000_0000 | index as u64)
}
