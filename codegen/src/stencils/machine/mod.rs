//! What is known of the two machines' code: how a function of Cranelift's begins and goes on, where
//! numbers and branches hold what is put into them, and the few instructions between stencils.
//!
//! All of it is checked on the bytes when a stencil is made; what looks otherwise is refused.

mod aarch64;
mod x86_64;

use super::stencil::{Field, Link};
use target_lexicon::{Architecture, Triple};

/// A machine that stencils are put together for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    X86_64,
    Aarch64,
}

/// A place that a jump doesn't reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a jump over {distance} bytes is longer than the machine's instruction reaches")]
pub(crate) struct TooFar {
    pub(crate) distance: i64,
}

impl Machine {
    pub(super) fn of(triple: &Triple) -> Option<Self> {
        match triple.architecture {
            Architecture::X86_64 => Some(Self::X86_64),
            Architecture::Aarch64(_) => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Bytes of the instructions that set up a frame, if the function begins with them.
    pub(super) fn prologue(self, code: &[u8]) -> Option<usize> {
        let (signing, prologue): (&[u8], &[u8]) = match self {
            Self::X86_64 => (&[], &x86_64::PROLOGUE),
            Self::Aarch64 => (&aarch64::SIGN, &aarch64::PROLOGUE),
        };
        let signed = if code.starts_with(signing) { signing.len() } else { 0 };
        code[signed..].starts_with(prologue).then_some(signed + prologue.len())
    }

    /// The bytes of a tail call whose relocation is at an offset: taking down the frame, and a
    /// jump. `None` if that isn't what is there.
    pub(super) fn tail_call(
        self,
        code: &[u8],
        relocation: usize,
    ) -> Option<std::ops::Range<usize>> {
        match self {
            Self::X86_64 => x86_64::tail_call(code, relocation),
            Self::Aarch64 => aarch64::tail_call(code, relocation),
        }
    }

    /// The conditional branch that a basic block of code ends with, which leads to this offset:
    /// where its distance is, and how it is written.
    pub(super) fn branch_to(self, code: &[u8], end: usize, target: usize) -> Option<Link> {
        match self {
            Self::X86_64 => x86_64::branch_to(code, end, target),
            Self::Aarch64 => aarch64::branch_to(code, end, target),
        }
    }

    /// A jump, whose distance isn't known yet, in place of a tail call of so many bytes.
    pub(super) fn jump_in(self, place: &mut [u8], at: usize) -> Link {
        match self {
            Self::X86_64 => x86_64::jump_in(place, at),
            Self::Aarch64 => aarch64::jump_in(place, at),
        }
    }

    /// How a number in the code, found by its difference between two makings, is written there.
    pub(super) fn field(
        self,
        codes: [&[u8]; 2],
        at: usize,
        values: [i64; 2],
    ) -> Option<(Field, usize, usize)> {
        match self {
            Self::X86_64 => x86_64::field(codes, at, values),
            Self::Aarch64 => aarch64::field(codes, at, values),
        }
    }

    /// Puts a number into a field.
    pub(super) fn fill(self, code: &mut [u8], at: usize, field: Field, value: i64) {
        match self {
            Self::X86_64 => x86_64::fill(code, at, field, value),
            Self::Aarch64 => aarch64::fill(code, at, field, value),
        }
    }

    /// Leads a jump or call to a place.
    pub(super) fn link(self, code: &mut [u8], link: Link, target: usize) -> Result<(), TooFar> {
        match self {
            Self::X86_64 => x86_64::link(code, link, target),
            Self::Aarch64 => aarch64::link(code, link, target),
        }
    }

    /// Adds a jump, whose distance isn't known yet.
    pub(super) fn jump(self, code: &mut Vec<u8>) -> Link {
        match self {
            Self::X86_64 => x86_64::jump(code),
            Self::Aarch64 => aarch64::jump(code),
        }
    }

    /// Adds a call, whose distance isn't known yet.
    pub(super) fn call(self, code: &mut Vec<u8>) -> Link {
        match self {
            Self::X86_64 => x86_64::call(code),
            Self::Aarch64 => aarch64::call(code),
        }
    }

    /// Adds a jump to the address that is the top word, in one register.
    pub(super) fn jump_to_top(self, code: &mut Vec<u8>) {
        code.extend_from_slice(match self {
            Self::X86_64 => &x86_64::JUMP_TO_TOP,
            Self::Aarch64 => &aarch64::JUMP_TO_TOP,
        });
    }

    /// The same, unless the address is zero.
    pub(super) fn jump_to_top_if_any(self, code: &mut Vec<u8>) {
        code.extend_from_slice(match self {
            Self::X86_64 => &x86_64::JUMP_TO_TOP_IF_ANY,
            Self::Aarch64 => &aarch64::JUMP_TO_TOP_IF_ANY,
        });
    }

    /// What a body begins with that is called, and calls builtins.
    pub(super) const fn callee_begin(self, calls: bool) -> &'static [u8] {
        match (self, calls) {
            (_, false) => &[],
            (Self::X86_64, true) => &x86_64::CALLEE_BEGIN,
            (Self::Aarch64, true) => &aarch64::CALLEE_BEGIN,
        }
    }

    /// What it returns by.
    pub(super) const fn callee_return(self, calls: bool) -> &'static [u8] {
        match (self, calls) {
            (Self::X86_64, false) => &x86_64::RETURN,
            (Self::X86_64, true) => &x86_64::CALLEE_RETURN,
            (Self::Aarch64, false) => &aarch64::RETURN,
            (Self::Aarch64, true) => &aarch64::CALLEE_RETURN,
        }
    }

    /// What makes the frame's own stack the topmost again, before it is left out of a callee.
    pub(super) const fn unwind(self) -> &'static [u8] {
        match self {
            // Its epilogue does.
            Self::X86_64 => &[],
            Self::Aarch64 => &aarch64::UNWIND,
        }
    }

    /// Alignment of instructions in bytes.
    pub(super) const fn alignment(self) -> usize {
        match self {
            Self::X86_64 => 1,
            Self::Aarch64 => 4,
        }
    }
}
