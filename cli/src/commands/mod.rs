//! The commands of the program, one file each.

pub(crate) mod aot;
pub(crate) mod bench;
pub(crate) mod compile;
mod contract_list;
pub(crate) mod explain;
mod phases;
pub(crate) mod run;
pub(crate) mod statetest;

use clap::ValueEnum;
use cranevm::{OptimizationLevel, PassSet};

/// Reads an element of `--skip`.
pub(crate) fn parse_pass(name: &str) -> Result<PassSet, String> {
    PassSet::from_name(name).ok_or_else(|| format!("passes that can be left out: {}", PassSet::ALL))
}

/// `--opt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Opt {
    /// Baseline: the quickest compilation
    None,
    /// The same as `none`
    Less,
    /// Optimising: a better register allocator
    #[default]
    Default,
    /// Optimising, with Cranelift's mid-end on small chunks
    Aggressive,
}

impl Opt {
    /// The compiler's level.
    pub(crate) fn level(self) -> OptimizationLevel {
        match self {
            Self::None => OptimizationLevel::None,
            Self::Less => OptimizationLevel::Less,
            Self::Default => OptimizationLevel::Default,
            Self::Aggressive => OptimizationLevel::Aggressive,
        }
    }

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Less => "less",
            Self::Default => "default",
            Self::Aggressive => "aggressive",
        }
    }
}
