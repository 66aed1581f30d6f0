//! Contracts of a command line: single ones, and files with one a line.

use alloy_primitives::Bytes;
use cranevm_cli::{
    CommandError, Contract, InputError,
    read::{self, MAX_LINE_BYTES},
};
use liblzma::read::XzDecoder;
use serde::Deserialize;
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

/// Calls `take` with name and bytecode of each contract that `argument` stands for: the lines of a
/// `.jsonl` or `.jsonl.xz` file, or what [`Contract::resolve`] finds. Holds one line in memory.
pub(crate) fn for_each(
    argument: &str,
    take: &mut dyn FnMut(&str, Bytes) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let path = Path::new(argument);
    let open = || File::open(path).map_err(|error| InputError::io(path, &error));
    if argument.ends_with(".jsonl.xz") {
        return lines(path, BufReader::new(XzDecoder::new_multi_decoder(open()?)), take);
    }
    if argument.ends_with(".jsonl") {
        return lines(path, BufReader::new(open()?), take);
    }
    let contract = Contract::resolve(argument)?;
    take(&contract.name, contract.code)
}

fn lines(
    path: &Path,
    mut reader: impl BufRead,
    take: &mut dyn FnMut(&str, Bytes) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut line = Vec::new();
    for number in 1.. {
        let is_there = read::line(&mut reader, &mut line, MAX_LINE_BYTES)
            .map_err(|error| InputError::new(format_args!("{}:{number}", path.display()), error))?;
        if !is_there {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let (name, code) = parse_line(path, number, &line)?;
        take(&name, code)?;
    }
    Ok(())
}

/// The fields that are used of a line.
#[derive(Deserialize)]
struct ContractLine {
    name: String,
    bytecode: String,
}

fn parse_line(path: &Path, number: usize, line: &[u8]) -> Result<(String, Bytes), InputError> {
    let at = |column: usize| format!("{}:{number}:{column}", path.display());
    let line: ContractLine = serde_json::from_slice(line).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        InputError::new(at(error.column()), message)
    })?;
    let code = cranevm_cli::hex::decode(&line.bytecode).map_err(|error| {
        let place = format!("{}:{number}", path.display());
        InputError::new(place, format_args!("bytecode: {error}"))
    })?;
    Ok((line.name, code))
}
