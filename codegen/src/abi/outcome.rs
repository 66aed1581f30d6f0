//! What a compiled run ends in.
//!
//! Compiled code returns one `u64`, a *status*. Zero never leaves compiled code (a builtin returns
//! it for "go on"); values below 256 are revm's `InstructionResult`; the rest is listed here.

use revm_interpreter::InstructionResult;

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
    /// The host panicked.
    Panicked,
}

impl Outcome {
    /// Decodes a status.
    #[inline]
    pub(crate) fn from_status(status: u64) -> Self {
        match status {
            STATUS_HAND_OVER => Self::HandOver,
            STATUS_ABSENT_ENTRY => Self::AbsentEntry,
            STATUS_PANICKED => Self::Panicked,
            code => Self::Ended(decode_result(code)),
        }
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

/// The results by their `repr(u8)` values. What isn't in the list can only be an error of the
/// translator; it ends the frame as `FatalExternalError`, so that the transaction fails instead of
/// going on wrongly.
static DECODED: [InstructionResult; 256] = {
    let mut decoded = [InstructionResult::FatalExternalError; 256];
    let mut index = 0;
    while index < RESULTS.len() {
        decoded[RESULTS[index] as usize] = RESULTS[index];
        index += 1;
    }
    decoded
};

#[inline]
fn decode_result(code: u64) -> InstructionResult {
    let known = usize::try_from(code).ok().and_then(|code| DECODED.get(code));
    known.copied().unwrap_or(InstructionResult::FatalExternalError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_survives_the_round_trip() {
        for byte in 0..=u8::MAX {
            let decoded = decode_result(u64::from(byte));
            if decoded as u8 != byte {
                assert_eq!(decoded, InstructionResult::FatalExternalError);
            }
        }
        for result in [
            InstructionResult::Stop,
            InstructionResult::Suspend,
            InstructionResult::Revert,
            InstructionResult::OutOfGas,
            InstructionResult::InvalidImmediateEncoding,
        ] {
            assert_eq!(Outcome::from_status(result as u64), Outcome::Ended(result));
        }
    }

    #[test]
    fn statuses_are_distinct() {
        assert_eq!(Outcome::from_status(STATUS_HAND_OVER), Outcome::HandOver);
        assert_eq!(Outcome::from_status(STATUS_ABSENT_ENTRY), Outcome::AbsentEntry);
        assert_eq!(Outcome::from_status(STATUS_PANICKED), Outcome::Panicked);
        let unknown = Outcome::Ended(InstructionResult::FatalExternalError);
        assert_eq!([0x103, u64::MAX].map(Outcome::from_status), [unknown; 2]);
    }
}
