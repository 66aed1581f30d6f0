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

/// Makes [`ArtifactRefusals`] and the counters behind it of one list.
macro_rules! refusals {
    ($($(#[$doc:meta])+ $reason:ident,)+) => {
        /// Artifacts that weren't loaded, by reason.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ArtifactRefusals {
            $($(#[$doc])+ pub $reason: u64,)+
        }

        impl ArtifactRefusals {
            /// All of them.
            pub const fn total(&self) -> u64 {
                0 $(+ self.$reason)+
            }
        }

        #[derive(Debug, Default)]
        struct RefusalCounters {
            $($reason: Counter,)+
        }

        impl RefusalCounters {
            fn snapshot(&self) -> ArtifactRefusals {
                ArtifactRefusals { $($reason: self.$reason.get(),)+ }
            }
        }
    };
}

refusals! {
    /// Not artifacts of cranevm.
    foreign,
    /// Of another version of the format.
    format,
    /// Cut off, corrupt, not the ones of their manifests, or malformed.
    damaged,
    /// For another ABI.
    abi,
    /// By another version of the compiler.
    compiler,
    /// For another kind of machine, or for a processor that can do more.
    machine,
    /// For other prices of the fork.
    prices,
    /// Compiled with other options.
    options,
    /// Of another contract or fork than their key says.
    misplaced,
    /// In files that can't be read.
    unreadable,
}

/// The counters behind [`ArtifactRefusals`] and its neighbours in the statistics.
#[derive(Debug, Default)]
pub(crate) struct ArtifactCounters {
    pub(crate) loaded: Counter,
    pub(crate) stored: Counter,
    pub(crate) store_errors: Counter,
    refused: RefusalCounters,
}

impl ArtifactCounters {
    /// Counts an artifact that wasn't loaded, or a store that failed.
    pub(crate) fn count(&self, problem: &ArtifactProblem) {
        use ArtifactError::{
            Abi, Bytecode, BytecodeLength, Compiler, ContentHash, CpuFeature, Format, GasSchedule,
            Length, Malformed, ManifestHash, NotAnArtifact, Options, Spec, Target,
        };
        let refused = &self.refused;
        let counter = match problem {
            ArtifactProblem::Refused(error) => match error {
                NotAnArtifact => &refused.foreign,
                Format { .. } => &refused.format,
                Length { .. } | ContentHash | ManifestHash | Malformed(_) => &refused.damaged,
                Abi { .. } => &refused.abi,
                Compiler { .. } => &refused.compiler,
                Target { .. } | CpuFeature { .. } => &refused.machine,
                GasSchedule => &refused.prices,
                Options { .. } => &refused.options,
                Spec { .. } | Bytecode { .. } | BytecodeLength { .. } => &refused.misplaced,
            },
            ArtifactProblem::Unreadable { .. } => &refused.unreadable,
            ArtifactProblem::Store { .. } | ArtifactProblem::StorePanicked { .. } => {
                &self.store_errors
            }
        };
        counter.bump();
    }

    /// The refusals so far.
    pub(crate) fn refusals(&self) -> ArtifactRefusals {
        self.refused.snapshot()
    }
}
