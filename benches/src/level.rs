//! Optimization levels on the command line and in the output of the programs here.

use clap::ValueEnum;
use cranevm::OptimizationLevel;
use serde::{Deserialize, Serialize};

/// An optimization level, by the name that `cranevm` calls it. In order of effort.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Baseline.
    None,
    /// The same as `none`.
    Less,
    /// Optimising.
    Default,
    /// Optimising, with Cranelift's mid-end.
    Aggressive,
}

impl Level {
    /// The compiler's level.
    pub fn level(self) -> OptimizationLevel {
        match self {
            Self::None => OptimizationLevel::None,
            Self::Less => OptimizationLevel::Less,
            Self::Default => OptimizationLevel::Default,
            Self::Aggressive => OptimizationLevel::Aggressive,
        }
    }

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Less => "less",
            Self::Default => "default",
            Self::Aggressive => "aggressive",
        }
    }
}
