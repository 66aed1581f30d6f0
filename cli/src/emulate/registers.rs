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

/// The program counter.
pub(super) const COUNTER: Register = PC;

/// The address that a function returns to.
pub(super) const LINK: Register = X30;

/// System register: whether floating point and vectors may be used.
pub(super) const COPROCESSOR_ACCESS: Register = CPACR_EL1;

/// Floating point and vectors don't trap, in [`COPROCESSOR_ACCESS`].
pub(super) const NO_TRAPS: u64 = 0b11 << 20;

/// A system register by the numbers that its instructions name it with.
pub(super) const BY_NUMBER: Register = CP_REG;

/// The numbers of a system register: CRn, CRm, op0, op1, op2.
#[derive(Clone, Copy)]
pub(super) struct SystemRegister([u32; 5]);

/// SCTLR_EL1.
pub(super) const SYSTEM_CONTROL: SystemRegister = SystemRegister([1, 0, 3, 0, 0]);

/// Return addresses are signed with key B (EnIB), in [`SYSTEM_CONTROL`].
pub(super) const SIGNING: u64 = 1 << 30;

/// HCR_EL2, which counts if [`SECURE_CONFIGURATION`] says so.
pub(super) const HYPERVISOR_CONFIGURATION: SystemRegister = SystemRegister([1, 1, 3, 4, 0]);

/// Signing and its keys (API, APK) aren't the hypervisor's to allow. Were the level below said to
/// be of 64 bits (RW), addresses beyond the model's 44 would fault.
pub(super) const NOT_TRAPPED: u64 = 1 << 41 | 1 << 40;

/// SCR_EL3.
pub(super) const SECURE_CONFIGURATION: SystemRegister = SystemRegister([1, 1, 3, 6, 0]);

/// Nor are they the monitor's to allow (API, APK); the levels below are of 64 bits (RW) and not
/// secure (NS).
pub(super) const NOT_TRAPPED_SECURELY: u64 = 1 << 17 | 1 << 16 | 1 << 10 | 1;

/// APIBKeyLo_EL1.
pub(super) const KEY_B_LOW: SystemRegister = SystemRegister([2, 1, 3, 0, 2]);

/// APIBKeyHi_EL1.
pub(super) const KEY_B_HIGH: SystemRegister = SystemRegister([2, 1, 3, 0, 3]);

/// What [`BY_NUMBER`] is written with: `uc_arm64_cp_reg`, its numbers and its value.
#[repr(align(8))]
pub(super) struct Written(pub(super) [u8; 32]);

impl SystemRegister {
    /// This register, to be written with `value`.
    pub(super) fn with(self, value: u64) -> Written {
        let mut bytes = [0; 32];
        for (to, number) in bytes.chunks_exact_mut(4).zip(self.0) {
            to.copy_from_slice(&number.to_ne_bytes());
        }
        bytes[24..].copy_from_slice(&value.to_ne_bytes());
        Written(bytes)
    }
}

/// What a register holds of which nothing may be expected.
pub(super) const JUNK: u64 = 0xbad0_bad1_bad2_bad3;

/// What is in the preserved registers before a run: a different number in each.
pub(super) fn marks() -> [u64; PRESERVED.len()] {
    std::array::from_fn(|index| 0x5afe_0000_0000_0000 | index as u64)
}
