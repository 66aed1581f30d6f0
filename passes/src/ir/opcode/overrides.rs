//! A wrong entry in the opcode table, made at run time: whether tests notice.
//!
//! One for each process, before anything is compiled: a wrong entry may lead to code that destroys
//! the process. Only with the feature `overrides`, which nothing but tests may enable.

use super::{GAS, Opcode, OpcodeInfo, SPECS};
use crate::ir::implementation::Implementation;
use core::fmt;
use revm_primitives::hardfork::SpecId;
use std::sync::OnceLock;

/// What is wrong of an opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It needs so many words.
    Inputs(u8),
    /// It leaves so many.
    Outputs(u8),
    /// It has so many bytes of immediate.
    Immediate(u8),
    /// It came with this fork.
    Since(SpecId),
    /// Its static gas in a fork.
    Gas(SpecId, u16),
    /// Compiled code does it in this way.
    Implementation(Implementation),
}

/// A wrong entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// The opcode.
    pub opcode: Opcode,
    /// What is said of it.
    pub change: Change,
}

/// The wrong entry as it is looked up.
struct Override {
    opcode: Opcode,
    info: OpcodeInfo,
    gas: [[u16; 256]; SPECS],
}

static OVERRIDE: OnceLock<Override> = OnceLock::new();

impl Mutant {
    /// Makes the entry wrong until the process ends.
    ///
    /// # Panics
    /// If no fork has the opcode, or an entry is wrong already.
    pub fn apply(self) {
        let Self { opcode, change } = self;
        let mut info = *opcode.info().expect("an opcode that some fork has");
        let mut gas = GAS;
        match change {
            Change::Inputs(inputs) => info.inputs = inputs,
            Change::Outputs(outputs) => info.outputs = outputs,
            Change::Immediate(immediate) => info.immediate = immediate,
            Change::Since(since) => info.since = since,
            Change::Gas(spec, price) => gas[spec as usize][usize::from(opcode.get())] = price,
            Change::Implementation(implementation) => info.implementation = implementation,
        }
        let is_first = OVERRIDE.set(Override { opcode, info, gas }).is_ok();
        assert!(is_first, "one wrong entry for each process");
    }
}

/// The wrong entry of an opcode.
pub(super) fn info(opcode: Opcode) -> Option<&'static OpcodeInfo> {
    OVERRIDE.get().filter(|found| found.opcode == opcode).map(|found| &found.info)
}

/// The prices, if any is wrong.
pub(super) fn gas_table(spec: SpecId) -> Option<&'static [u16; 256]> {
    OVERRIDE.get().map(|found| &found.gas[spec as usize])
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { opcode, change } = self;
        match change {
            Change::Inputs(words) => write!(f, "{opcode} needs {words} words"),
            Change::Outputs(words) => write!(f, "{opcode} leaves {words} words"),
            Change::Immediate(bytes) => write!(f, "{opcode} has {bytes} bytes of immediate"),
            Change::Since(spec) => write!(f, "{opcode} came with {spec:?}"),
            Change::Gas(spec, gas) => write!(f, "{opcode} costs {gas} in {spec:?}"),
            Change::Implementation(done) => write!(f, "{opcode} is done as {done:?}"),
        }
    }
}
