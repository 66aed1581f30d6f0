//! The code that is tried: what the passes' golden texts have, programs on which native code was
//! once wrong, the sweep of gas limits' programs, generated ones, pairs of blocks that nearly are
//! the same, and deployed contracts.

use super::{state::Code, twins::twins as pair};
use crate::{
    assembly::assemble,
    case::{TARGET, all_specs},
    fixtures, past_faults,
    programs::Program,
    rng::{Rng, mix},
    sweep,
};
use alloy_primitives::hex;
use revm::primitives::hardfork::SpecId;
use std::fs;

fn code(name: impl Into<String>, bytes: impl Into<alloy_primitives::Bytes>, spec: SpecId) -> Code {
    Code { name: name.into(), bytes: bytes.into(), spec }
}

/// A fork: mostly the newest.
fn spec(rng: &mut Rng) -> SpecId {
    let all: Vec<SpecId> = all_specs().collect();
    match rng.below(4) {
        0 => rng.pick(&all),
        1 => SpecId::AMSTERDAM,
        _ => SpecId::OSAKA,
    }
}

/// The bytecode of the passes' golden texts.
///
/// # Panics
/// If they can't be read.
pub fn golden() -> Vec<Code> {
    let folder = fixtures::workspace_root().join("passes/tests/golden");
    let files = fixtures::files(&folder, "txt").expect("the golden texts");
    let codes = files.iter().map(|path| {
        let text = fs::read_to_string(path).expect("a text");
        let line = text.lines().find_map(|line| line.strip_prefix("; code:"));
        let bytes = hex::decode(line.unwrap_or_default().replace(' ', "")).expect("hexadecimal");
        code(format!("golden {:?}", path.file_name().unwrap_or_default()), bytes, SpecId::OSAKA)
    });
    codes.collect()
}

/// Programs on which native code was once wrong.
pub fn past() -> Vec<Code> {
    let programs = past_faults::all().into_iter();
    programs.map(|(name, bytes)| code(name, bytes, SpecId::OSAKA)).collect()
}

/// Programs of the sweep of gas limits: one charge, one last instruction, one end each.
pub fn charges(count: usize, seed: u64) -> Vec<Code> {
    let shapes = sweep::Plan { every: 1, choices: 1, everything: false }.shapes();
    let rng = &mut Rng::new(seed);
    let count = count.min(shapes.len());
    let picked = (0..count).map(|_| rng.pick(&shapes));
    let codes = picked.map(|shape| {
        let case = shape.program().case;
        code(format!("{shape:?}"), case.accounts[&TARGET].code.clone(), case.spec)
    });
    codes.collect()
}

/// Generated programs.
pub fn generated(count: usize, seed: u64) -> Vec<Code> {
    let programs = (0..count.min(20_000) as u64).map(|index| {
        let program = Program::generate(mix(seed ^ mix(index)));
        let bytes = assemble(&program.contracts[0].items);
        code(format!("program {}", program.seed), bytes, program.spec)
    });
    programs.collect()
}

/// Pairs of blocks that nearly are the same.
pub fn twins(count: usize, seed: u64) -> Vec<Code> {
    let rng = &mut Rng::new(mix(seed));
    let count = count.min(20_000);
    let codes = (0..count).map(|index| code(format!("twins {index}"), pair(rng), SpecId::OSAKA));
    codes.collect()
}

/// Deployed contracts, if there are any here.
///
/// # Panics
/// If they can't be read.
pub fn deployed(count: usize, seed: u64) -> Vec<Code> {
    let Some(path) = fixtures::find("validated contracts", "contracts.jsonl.xz") else {
        return Vec::new();
    };
    let mut contracts = fixtures::contracts(&path).expect("a list of contracts");
    let rng = &mut Rng::new(seed);
    while contracts.len() > count {
        contracts.swap_remove(rng.below(contracts.len()));
    }
    contracts.into_iter().map(|found| code(found.name, found.bytecode, spec(rng))).collect()
}
