//! A stencil: machine code with holes and links.

use super::{
    key::{Key, Top},
    writer::Symbol,
};
use cranelift_codegen::CodegenError;

/// How a number is written in code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Below 2^7.
    Byte {
        /// The code has what it is taken from zero by.
        negated: bool,
    },
    /// Below 2^31.
    Word {
        /// The code has what it is taken from zero by.
        negated: bool,
        /// What the code has more.
        more: i8,
    },
    /// Eight bytes.
    Limb,
}

/// A place in the code that a number is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) at: u32,
    pub(super) field: Field,
    /// Which number.
    pub(super) number: u8,
}

/// How far a branch reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkKind {
    /// A conditional branch of aarch64.
    Near,
    /// A jump or call.
    Far,
}

/// A branch whose distance is put in when its target has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) at: u32,
    pub(super) kind: LinkKind,
}

/// Machine code to copy.
#[derive(Clone, Debug)]
pub(super) struct Stencil {
    pub(super) code: Box<[u8]>,
    pub(super) holes: Box<[Hole]>,
    /// Where it goes on but for its end.
    pub(super) links: Box<[(Link, Symbol)]>,
    /// Where what follows finds the top word.
    pub(super) after: Option<Top>,
    /// Whether it calls builtins.
    pub(super) calls: bool,
    /// Whether it leaves the frame.
    pub(super) is_leave: bool,
    /// Whether it can be called: it has no holes but those that are the
    /// same in all of a contract, and leads nowhere but on and out of the frame.
    pub(super) is_body: bool,
}

/// Why there is no stencil of a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StencilError {
    /// Cranelift refused.
    #[error("Cranelift made no code of the stencil {key:?}: {error}")]
    Cranelift { key: Key, error: CodegenError },
    /// The code isn't of the shape that stencils have.
    #[error("the code of the stencil {key:?} has another shape: {what}")]
    Shape { key: Key, what: &'static str },
}
