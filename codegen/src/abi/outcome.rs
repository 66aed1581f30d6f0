//! What a compiled run ends in.
//!
//! Compiled code returns one `u64`, a *status*. Zero never leaves compiled code (a builtin returns
//! it for "go on"); values below 256 are revm's `InstructionResult`; the rest is listed here. What
//! isn't, and gas or a stack that can't be, are a [`Fault`]: apart from the outcomes, which go
//! through registers.

use revm_interpreter::InstructionResult;

/// Compiled code did what it never may: a defect of this crate, or memory that somebody has
/// overwritten. The frame's state is worth nothing, so its transaction must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It returned a status that there isn't.
    #[error("compiled code returned the status {0:#x}, which has no meaning")]
    Status(u64),
    /// It called a builtin with a stack pointer outside the EVM stack, or within a word.
    #[error("compiled code called a builtin with arguments outside the stack")]
    Call,
    /// It left more gas than it was entered with and instructions gave.
    #[error("compiled code left {after} gas of {before}")]
    Gas {
        /// Gas and spilled state gas (EIP-8037) at entry, and what instructions gave.
        before: u64,
        /// The same at exit.
        after: u64,
    },
    /// It left the stack pointer outside the EVM stack, or within a word.
    #[error("compiled code left the stack pointer {0} bytes from the stack's start")]
    StackPointer(isize),
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: u64 = $value;)*

        /// The list, for the hash of the ABI.
        pub(crate) const STATUSES: &str =
            concat!($(stringify!($name), "=", stringify!($value), " "),*);
    };
}

statuses! {
    /// Status of a builtin after which compiled code goes on.
    STATUS_CONTINUE = 0;
    /// Hand over to the interpreter at the pc stored in the context.
    STATUS_HAND_OVER = 0x100;
    /// Hand over at the entry point whose ordinal is stored in the context: its chunk isn't
    /// compiled.
    STATUS_ABSENT_ENTRY = 0x101;
    /// A builtin caught a panic; its payload is in the context.
    STATUS_PANICKED = 0x102;
    /// A builtin was called with what can't be: a [`Fault`].
    STATUS_FAULT = 0x103;
    /// Hand over to the interpreter at the pc stored in the context: what is there isn't compiled.
    STATUS_ABSENT_BLOCK = 0x104;
}

/// What a compiled run ended in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The frame ended or suspended, as when revm's instruction returns this error.
    Ended(InstructionResult),
    /// The interpreter goes on at the context's pc.
    HandOver,
    /// The interpreter goes on at the entry point with the context's ordinal.
    AbsentEntry,
    /// The interpreter goes on at the context's pc, for there is no code for that.
    AbsentBlock,
    /// The host panicked.
    Panicked,
}

impl Outcome {
    /// Decodes a status; `None` if it is a [`Fault`]'s.
    #[inline]
    pub(crate) fn from_status(status: u64) -> Option<Self> {
        match status {
            STATUS_HAND_OVER => Some(Self::HandOver),
            STATUS_ABSENT_ENTRY => Some(Self::AbsentEntry),
            STATUS_ABSENT_BLOCK => Some(Self::AbsentBlock),
            STATUS_PANICKED => Some(Self::Panicked),
            code => decode_result(code).map(Self::Ended),
        }
    }
}

impl Fault {
    /// The fault of a status that is no outcome's.
    #[cold]
    pub(crate) const fn of_status(status: u64) -> Self {
        if status == STATUS_FAULT { Self::Call } else { Self::Status(status) }
    }
}

/// The results that compiled code and builtins can report. Code holds their `repr(u8)` values.
pub(crate) const RESULTS: [InstructionResult; 34] = {
    use InstructionResult::*;
    [
        Stop,
        Return,
        SelfDestruct,
        Suspend,
        Revert,
        CallTooDeep,
        OutOfFunds,
        CreateInitCodeStartingEF00,
        InvalidEOFInitCode,
        InvalidExtDelegateCallTarget,
        OutOfGas,
        MemoryOOG,
        MemoryLimitOOG,
        PrecompileOOG,
        InvalidOperandOOG,
        ReentrancySentryOOG,
        OpcodeNotFound,
        CallNotAllowedInsideStatic,
        StateChangeDuringStaticCall,
        InvalidFEOpcode,
        InvalidJump,
        NotActivated,
        StackUnderflow,
        StackOverflow,
        OutOfOffset,
        CreateCollision,
        OverflowPayment,
        PrecompileError,
        NonceOverflow,
        CreateContractSizeLimit,
        CreateContractStartingWithEF,
        CreateInitCodeSizeLimit,
        FatalExternalError,
        InvalidImmediateEncoding,
    ]
};

/// The results by their `repr(u8)` values.
static DECODED: [Option<InstructionResult>; 256] = {
    let mut decoded = [None; 256];
    let mut index = 0;
    while index < RESULTS.len() {
        decoded[RESULTS[index] as usize] = Some(RESULTS[index]);
        index += 1;
    }
    decoded
};

#[inline]
fn decode_result(code: u64) -> Option<InstructionResult> {
    DECODED.get(usize::try_from(code).ok()?).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_survives_the_round_trip() {
        for byte in 0..=u8::MAX {
            if let Some(decoded) = decode_result(u64::from(byte)) {
                assert_eq!(decoded as u8, byte);
            }
        }
        for result in [
            InstructionResult::Stop,
            InstructionResult::Suspend,
            InstructionResult::Revert,
            InstructionResult::OutOfGas,
            InstructionResult::InvalidImmediateEncoding,
        ] {
            assert_eq!(Outcome::from_status(result as u64), Some(Outcome::Ended(result)));
        }
    }

    #[test]
    fn statuses_are_distinct() {
        assert_eq!(Outcome::from_status(STATUS_HAND_OVER), Some(Outcome::HandOver));
        assert_eq!(Outcome::from_status(STATUS_ABSENT_ENTRY), Some(Outcome::AbsentEntry));
        assert_eq!(Outcome::from_status(STATUS_ABSENT_BLOCK), Some(Outcome::AbsentBlock));
        assert_eq!(Outcome::from_status(STATUS_PANICKED), Some(Outcome::Panicked));
        for fault in [STATUS_CONTINUE, STATUS_FAULT, STATUS_ABSENT_BLOCK + 1, u64::MAX] {
            assert_eq!(Outcome::from_status(fault), None);
        }
        assert_eq!(Fault::of_status(STATUS_FAULT), Fault::Call);
        assert_eq!(Fault::of_status(STATUS_CONTINUE), Fault::Status(STATUS_CONTINUE));
    }
}
