//! The commands of the program, one file each.

pub(crate) mod aot;
pub(crate) mod bench;
pub(crate) mod block;
pub(crate) mod compile;
mod contract_list;
pub(crate) mod explain;
mod phases;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod statetest;

use clap::ValueEnum;
use cranevm::{OptimizationLevel, PassSet};
use cranevm_cli::CommandError;
use cranevm_codegen::{Compiler, CompilerOptions, Triple};

/// Reads an element of `--skip`.
pub(crate) fn parse_pass(name: &str) -> Result<PassSet, String> {
    PassSet::from_name(name).ok_or_else(|| format!("passes that can be left out: {}", PassSet::ALL))
}

/// Reads `--target`.
pub(crate) fn parse_target(name: &str) -> Result<Triple, String> {
    let known = "aarch64-unknown-linux-gnu, aarch64-apple-darwin, x86_64-unknown-linux-gnu";
    name.parse().map_err(|error| format!("{error}; a target triple such as {known} is wanted"))
}

/// A compiler for a target without assumptions on its CPU, or for this machine.
pub(crate) fn new_compiler(
    options: CompilerOptions,
    target: Option<&Triple>,
) -> Result<Compiler, CommandError> {
    let compiler = match target {
        None => Compiler::new(options),
        Some(target) => Compiler::for_target(options, target.clone()),
    };
    compiler.map_err(|error| CommandError::Failed(error.to_string()))
}

/// `--opt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Opt {
    /// Put together from stencils: the quickest
    None,
    /// The same as `none`
    Less,
    /// Optimising: translated, and compiled by Cranelift
    #[default]
    Default,
    /// Optimising, with Cranelift's mid-end too
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
