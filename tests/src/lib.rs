//! What the tests of cranevm share: the engines under test, everything observable of a
//! transaction, and a generator of programs.
//!
//! Every test does the same: it makes a [`Case`](case::Case) (accounts, a block and one or more
//! transactions), runs it through revm's interpreter and through each [native
//! engine](engines::Engine), and compares the [`Observation`](observation::Observation)s. The
//! interpreter in the same process is the only oracle. [`check::check`] does that for
//! hand-written cases and [`differential`] for generated ones, with shrinking.

#![deny(unsafe_code)]

pub mod assembly;
pub mod case;
pub mod chaos;
pub mod check;
pub mod database;
pub mod differential;
pub mod engines;
pub mod fixtures;
pub mod hostile;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod observation;
pub mod parallel;
pub mod past_faults;
pub mod programs;
pub mod rng;
pub mod shrink;
pub mod small;
pub mod sweep;
pub mod validator;
