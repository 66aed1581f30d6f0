//! Real Ethereum blocks, executed by revm's interpreter and natively: compared with their headers
//! and with each other, and measured.
//!
//! - `format`, `load`: the files; `rules`, `transaction`, `block`, `state`: what they come to;
//! - `execute`, `found`, `precompiles`: one block on one EVM;
//! - `check`: header, receipts, and one engine beside another;
//! - `engine`, `mode`, `session`, `warm`, `schedule`: what is run in which order;
//! - `clock`, `cold`, `statistics`, `shares`: how it is measured;
//! - `convert`: files made from what nodes answer;
//! - `report`: what comes of it; `synthetic`: blocks that come with the program.
//!
//! `docs/replay.md` says what the figures mean.

mod block;
mod check;
mod clock;
mod cold;
pub mod convert;
mod engine;
mod execute;
mod format;
mod found;
mod load;
mod machine;
mod mode;
mod precompiles;
mod report;
pub mod rules;
mod schedule;
mod session;
mod shares;
mod state;
mod statistics;
mod synthetic;
mod transaction;
mod warm;

pub use block::{BlockError, Expected, ReplayBlock};
pub use check::{differences, header_differences};
pub use engine::{NativeEngine, Policy};
pub use execute::{ExecuteError, Executed, Subject};
pub use format::{AccountJson, BlockFile, CodeJson, HeaderJson, TransactionJson};
pub use load::{Loader, blocks};
pub use mode::Mode;
pub use report::{Aggregate, BlockReport, Compiling, Difference, LeftOut, Report, Row};
pub use session::{ReplayError, Session, Settings, Step};
pub use shares::{Ran, Shares};
pub use state::{BlockDb, MissingState};
pub use statistics::{PROCESS_SPREAD, Range, Ratio, Times};
pub use synthetic::blocks as synthetic_blocks;
pub use transaction::TransactionError;
