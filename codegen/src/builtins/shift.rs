//! Shifts by an amount that isn't constant (EIP-145), under the stack-call convention.

use revm_primitives::U256;

/// The shift amount, or `None` where it shifts everything out.
///
/// # Safety
/// `top` must point one past two words.
unsafe fn operands(top: *mut U256) -> (Option<usize>, *mut U256) {
    // SAFETY: by the contract, the two words below `top` are valid.
    let amount = unsafe { *top.sub(1) };
    let amount = usize::try_from(amount).ok().filter(|&amount| amount < 256);
    // SAFETY: as above.
    (amount, unsafe { top.sub(2) })
}

macro_rules! shift {
    ($(#[$doc:meta])* $name:ident, |$value:ident, $amount:ident| $shifted:expr, $overshift:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `top` must point one past two words of the EVM stack: the translator checks the height.
        pub(crate) unsafe extern "C" fn $name(top: *mut U256) {
            // SAFETY: passed on.
            let (amount, slot) = unsafe { operands(top) };
            // SAFETY: the slot is one of the two words.
            let $value = unsafe { *slot };
            let result = match amount {
                Some($amount) => $shifted,
                None => $overshift,
            };
            // SAFETY: as above.
            unsafe { *slot = result };
        }
    };
}

shift! {
    /// `SHL`: revm's `bitwise::shl`.
    shl, |value, amount| value << amount, U256::ZERO
}
shift! {
    /// `SHR`: revm's `bitwise::shr`.
    shr, |value, amount| value >> amount, U256::ZERO
}
shift! {
    /// `SAR`: revm's `bitwise::sar`.
    sar, |value, amount| value.arithmetic_shr(amount),
    if value.bit(255) { U256::MAX } else { U256::ZERO }
}
