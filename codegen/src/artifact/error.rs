//! Why an artifact isn't loaded.

use alloy_primitives::B256;

/// Why an artifact isn't loaded. In the order in which it is looked at: what is reported is the
/// first that applies, and so the one that explains the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// It doesn't begin like an artifact.
    #[error("not an artifact of cranevm")]
    NotAnArtifact,
    /// It has another format. What follows its version can't be read.
    #[error("format {found}, but this build reads format {expected}")]
    Format {
        /// The file's.
        found: u32,
        /// This build's.
        expected: u32,
    },
    /// It was cut off, or something was added.
    #[error("{found} bytes long, but {expected} bytes were written")]
    Length {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be, or at least one more than there are.
        expected: u64,
    },
    /// Its bytes aren't those that were written.
    #[error("the content doesn't have its hash: the file is corrupt")]
    ContentHash,
    /// It is whole, but not the one that its manifest describes.
    #[error("the content doesn't have the manifest's hash: another file is in its place")]
    ManifestHash,
    /// Its code is for another layout of the context, other builtins, or another way of entry.
    #[error("made for ABI {found}, but this build has ABI {expected}")]
    Abi {
        /// The file's.
        found: B256,
        /// This build's.
        expected: B256,
    },
    /// It was made by another version of the compiler.
    #[error("compiled by {found}, but this build has {expected}")]
    Compiler {
        /// The file's.
        found: String,
        /// This build's.
        expected: String,
    },
    /// It was made for another kind of machine or system.
    #[error("compiled for {found}, but this is {expected}")]
    Target {
        /// The file's.
        found: String,
        /// This machine's.
        expected: String,
    },
    /// Its code may use an extension that this machine doesn't have.
    #[error("the code needs {missing}, which this processor doesn't have")]
    CpuFeature {
        /// The extension, as Cranelift calls it.
        missing: String,
    },
    /// It is for another fork.
    #[error("compiled for {found}, but {expected} is wanted")]
    Spec {
        /// The file's.
        found: String,
        /// The one wanted.
        expected: String,
    },
    /// The fork had other prices when it was made.
    #[error("compiled for other prices than this build has for the fork")]
    GasSchedule,
    /// It was compiled with another option.
    #[error("compiled with {found}, but {expected} is wanted")]
    Options {
        /// The first option that differs, with its value in the file.
        found: String,
        /// The same as it is wanted.
        expected: String,
    },
    /// It is of another contract.
    #[error("compiled from the code {found}, but {expected} is wanted")]
    Bytecode {
        /// The hash in the file.
        found: B256,
        /// The hash wanted.
        expected: B256,
    },
    /// It is of bytecode of another length, though of the same hash.
    #[error("compiled from {found} bytes of code, but the contract has {expected}")]
    BytecodeLength {
        /// The length in the file.
        found: u32,
        /// The contract's.
        expected: usize,
    },
    /// It is whole, but what it says is impossible: whoever wrote it was wrong.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

impl ArtifactError {
    /// A short name of the reason, the same for all files: `content-hash`, say.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotAnArtifact => "not-an-artifact",
            Self::Format { .. } => "format",
            Self::Length { .. } => "length",
            Self::ContentHash => "content-hash",
            Self::ManifestHash => "manifest-hash",
            Self::Abi { .. } => "abi",
            Self::Compiler { .. } => "compiler",
            Self::Target { .. } => "target",
            Self::CpuFeature { .. } => "cpu-feature",
            Self::Spec { .. } => "spec",
            Self::GasSchedule => "gas-schedule",
            Self::Options { .. } => "options",
            Self::Bytecode { .. } => "bytecode",
            Self::BytecodeLength { .. } => "bytecode-length",
            Self::Malformed(_) => "malformed",
        }
    }
}
