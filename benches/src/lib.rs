//! What the benchmarks share: the shipped contracts, and how long Criterion measures.
//!
//! The contracts are in `contracts/`: sources, bytecode and fixtures. They are embedded in the
//! `cranevm` program, and the benchmarks load them from there.

#![deny(unsafe_code)]

pub mod callgrind;
pub mod chart;
pub mod level;

use cranevm_cli::{Environment, Fixture, InputError, fixture::FixtureDb, shipped};
use criterion::Criterion;
use std::{path::Path, time::Duration};

/// A shipped contract and the transaction that exercises it, ready to run.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The contract's name.
    pub name: String,
    /// Pre-state, block and transaction.
    pub fixture: Fixture,
    /// The same for the fixture's own fork.
    pub environment: Environment,
}

impl Workload {
    /// The state before the transaction.
    pub fn database(&self) -> FixtureDb {
        self.fixture.database()
    }
}

/// All shipped contracts, in the order of the documentation.
///
/// # Errors
/// An embedded fixture that doesn't parse.
pub fn workloads() -> Result<Vec<Workload>, InputError> {
    shipped::all()
        .iter()
        .map(|contract| {
            let loaded = contract.load()?;
            let name = loaded.name.clone();
            let fixture = loaded.into_fixture();
            let environment = fixture.environment(fixture.default_spec());
            Ok(Workload { name, fixture, environment })
        })
        .collect()
}

/// Few samples and short times, so that all benchmarks together take about three minutes.
/// Criterion's own options on the command line take precedence.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args()
}

/// The example of the README, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The shipped contracts by name, and those fixtures of `../shared/fixtures/bench` that are there,
/// by path.
pub fn shipped_and(fixtures: &[&str]) -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/bench");
    let shipped = shipped::all().iter().map(|contract| contract.name.to_string());
    let paths = fixtures.iter().map(|name| directory.join(name).with_extension("json"));
    let present = paths.filter(|path| path.exists());
    shipped.chain(present.map(|path| path.to_string_lossy().into_owned())).collect()
}
