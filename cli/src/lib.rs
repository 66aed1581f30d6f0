//! The reusable parts of the `cranevm` program: contracts and fixtures as input, engines to run
//! them on, the runner of Ethereum state tests, and the replay of Ethereum blocks.
//!
//! The tests and the benchmarks of the workspace are built on the same parts as the program.
#![deny(unsafe_code)]

pub mod assembler;
pub mod comparison;
pub mod contract;
pub mod emulate;
pub mod engine;
pub mod error;
pub mod fixture;
pub mod hex;
pub mod measure;
pub mod observation;
pub mod read;
pub mod replay;
pub mod shipped;
pub mod spec;
pub mod statetest;

pub use contract::Contract;
pub use engine::{Engine, EngineRunner, Environment};
pub use error::{CommandError, InputError};
pub use fixture::Fixture;
