//! What goes wrong with artifacts, and how often.

use crate::stats::Counter;
use cranevm_codegen::artifact::ArtifactError;
use std::{io, path::PathBuf};

/// Why an artifact wasn't loaded or stored.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactProblem {
    /// It isn't what is wanted, or not whole.
    #[error(transparent)]
    Refused(#[from] ArtifactError),
    /// Its file can't be read.
    #[error("{path}: can't be read: {source}", path = .path.display())]
    Unreadable {
        /// The file that the store told of.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store returned an error.
    #[error("the artifact store can't {call}: {message}")]
    Store {
        /// What it was asked to do.
        call: &'static str,
        /// What it said.
        message: String,
    },
    /// The store panicked. The panic was contained.
    #[error("the artifact store panicked when asked to {call}: {message}")]
    StorePanicked {
        /// What it was asked to do.
        call: &'static str,
        /// The panic's message.
        message: String,
    },
}

impl ArtifactProblem {
    /// A short name of the reason, the same for all artifacts: `content-hash`, say.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Refused(error) => error.reason(),
            Self::Unreadable { .. } => "unreadable",
            Self::Store { .. } => "store-error",
            Self::StorePanicked { .. } => "store-panic",
        }
    }
}

/// Artifacts that weren't loaded, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArtifactRefusals {
    /// Not artifacts of cranevm.
    pub foreign: u64,
    /// Of another version of the format.
    pub format: u64,
    /// Cut off, corrupt, not the ones of their manifests, or malformed.
    pub damaged: u64,
    /// For another ABI.
    pub abi: u64,
    /// By another version of the compiler.
    pub compiler: u64,
    /// For another kind of machine, or for a processor that can do more.
    pub machine: u64,
    /// For other prices of the fork.
    pub prices: u64,
    /// Compiled with other options.
    pub options: u64,
    /// Of another contract or fork than their key says.
    pub misplaced: u64,
    /// In files that can't be read.
    pub unreadable: u64,
}

/// The counters behind [`ArtifactRefusals`] and its neighbours in the statistics.
#[derive(Debug, Default)]
pub(crate) struct ArtifactCounters {
    pub(crate) loaded: Counter,
    pub(crate) stored: Counter,
    pub(crate) store_errors: Counter,
    foreign: Counter,
    format: Counter,
    damaged: Counter,
    abi: Counter,
    compiler: Counter,
    machine: Counter,
    prices: Counter,
    options: Counter,
    misplaced: Counter,
    unreadable: Counter,
}

impl ArtifactCounters {
    /// Counts an artifact that wasn't loaded, or a store that failed.
    pub(crate) fn count(&self, problem: &ArtifactProblem) {
        use ArtifactError::{
            Abi, Bytecode, BytecodeLength, Compiler, ContentHash, CpuFeature, Format, GasSchedule,
            Length, Malformed, ManifestHash, NotAnArtifact, Options, Spec, Target,
        };
        let counter = match problem {
            ArtifactProblem::Refused(error) => match error {
                NotAnArtifact => &self.foreign,
                Format { .. } => &self.format,
                Length { .. } | ContentHash | ManifestHash | Malformed(_) => &self.damaged,
                Abi { .. } => &self.abi,
                Compiler { .. } => &self.compiler,
                Target { .. } | CpuFeature { .. } => &self.machine,
                GasSchedule => &self.prices,
                Options { .. } => &self.options,
                Spec { .. } | Bytecode { .. } | BytecodeLength { .. } => &self.misplaced,
            },
            ArtifactProblem::Unreadable { .. } => &self.unreadable,
            ArtifactProblem::Store { .. } | ArtifactProblem::StorePanicked { .. } => {
                &self.store_errors
            }
        };
        counter.bump();
    }

    /// The refusals so far.
    pub(crate) fn refusals(&self) -> ArtifactRefusals {
        ArtifactRefusals {
            foreign: self.foreign.get(),
            format: self.format.get(),
            damaged: self.damaged.get(),
            abi: self.abi.get(),
            compiler: self.compiler.get(),
            machine: self.machine.get(),
            prices: self.prices.get(),
            options: self.options.get(),
            misplaced: self.misplaced.get(),
            unreadable: self.unreadable.get(),
        }
    }
}

impl ArtifactRefusals {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.foreign
            + self.format
            + self.damaged
            + self.abi
            + self.compiler
            + self.machine
            + self.prices
            + self.options
            + self.misplaced
            + self.unreadable
    }
}
