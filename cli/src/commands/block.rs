//! `cranevm block`: a file for `replay` from what a node answers.

use crate::{terminal, terminal::say};
use clap::Args;
use cranevm_cli::{
    CommandError, InputError,
    measure::count,
    replay::{
        BlockFile,
        convert::{RpcBlock, State, Traced, answer},
    },
};
use liblzma::write::XzEncoder;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// How much work goes into compressing: xz's own default.
const XZ_LEVEL: u32 = 6;

/// Make a block file for `replay` from a node's answers over JSON-RPC
///
/// The block is the answer to `eth_getBlockByNumber` with whole transactions. What it reads comes
/// from a prestate trace or an execution witness of the same block. Each file is the whole response
/// or its result alone, plain or compressed by xz.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// Answer to `eth_getBlockByNumber` with `true`
    #[arg(value_name = "BLOCK")]
    block: PathBuf,
    #[command(flatten)]
    state: StateArgs,
    /// Hashes of earlier blocks, by number; a witness brings its own
    #[arg(long, value_name = "FILE")]
    hashes: Option<PathBuf>,
    /// Where to write the file; compressed if this ends in `.xz`
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// A line of JSON
    #[arg(long)]
    json: bool,
}

/// Where the state comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct StateArgs {
    /// Answer to `debug_traceBlockByNumber` with `{"tracer": "prestateTracer"}`
    #[arg(long, value_name = "FILE")]
    prestate: Option<PathBuf>,
    /// Answer to `debug_executionWitness`
    #[arg(long, value_name = "FILE")]
    witness: Option<PathBuf>,
}

/// A line of output.
#[derive(Debug, Serialize)]
struct Made {
    file: String,
    number: u64,
    transactions: usize,
    accounts: usize,
    slots: usize,
    codes: usize,
    hashes: usize,
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let block: RpcBlock = answer(&self.block)?;
        let mut state = self.state.read(&block)?;
        if let Some(path) = &self.hashes {
            state.hashes.append(&mut answer::<BTreeMap<_, _>>(path)?);
        }
        let file = state.into_file(block);
        write(&self.output, &file)?;
        self.tell(&file)
    }

    fn tell(&self, file: &BlockFile) -> Result<(), CommandError> {
        let made = Made {
            file: self.output.display().to_string(),
            number: file.header.number.to(),
            transactions: file.txs.len(),
            accounts: file.accounts.len(),
            slots: file.accounts.values().map(|account| account.storage.len()).sum(),
            codes: file.codes.len(),
            hashes: file.hashes.len(),
        };
        if self.json {
            say!("{}", terminal::json(&made)?);
            return Ok(());
        }
        let text = |number: usize| count(number as u64);
        say!(
            "block {}: {} transactions, {} accounts, {} slots, {} codes, {} hashes: {}",
            count(made.number),
            text(made.transactions),
            text(made.accounts),
            text(made.slots),
            text(made.codes),
            text(made.hashes),
            terminal::printable(&made.file),
        );
        Ok(())
    }
}

impl StateArgs {
    fn read(&self, block: &RpcBlock) -> Result<State, InputError> {
        match (&self.prestate, &self.witness) {
            (Some(path), _) => {
                let traces: Vec<Traced> = answer(path)?;
                let (found, wanted) = (traces.len(), block.transactions.len());
                if found != wanted {
                    let problem = format!("{found} traces, of a block with {wanted} transactions");
                    return Err(InputError::new(path.display(), problem));
                }
                Ok(State::of_traces(traces))
            }
            (None, Some(path)) => State::of_witness(block, &answer(path)?)
                .map_err(|error| InputError::new(path.display(), error)),
            // Required by `clap`.
            (None, None) => Err(InputError::new("usage", "--prestate or --witness is wanted")),
        }
    }
}

fn write(path: &Path, file: &BlockFile) -> Result<(), CommandError> {
    let failed = |error: io::Error| {
        CommandError::Failed(format!("{}: can't be written: {error}", path.display()))
    };
    let text = serde_json::to_vec(file).map_err(|error| CommandError::Failed(error.to_string()))?;
    let mut out = BufWriter::new(File::create(path).map_err(failed)?);
    if path.extension().is_some_and(|extension| extension == "xz") {
        let mut encoder = XzEncoder::new(out, XZ_LEVEL);
        encoder.write_all(&text).map_err(failed)?;
        out = encoder.finish().map_err(failed)?;
    } else {
        out.write_all(&text).map_err(failed)?;
    }
    out.flush().map_err(failed)
}
