//! The invariants of a program. The verifier trusts nothing: a program read from text may
//! have any defect, and is refused with the entity that has it.
//!
//! Once the stack is lifted ([`Stage::Lifted`]):
//!
//! - there is a block, the first is at pc 0, and blocks but for clones are in order of
//!   pc, none reaching into the next or past the code;
//! - the instructions of the blocks, their outputs, and the arguments of the instructions each lie
//!   end to end in their pool, without gap or remainder;
//! - an instruction lies in the code, has as many arguments as its opcode takes, and a result
//!   exactly if the opcode pushes one (and doesn't suspend);
//! - a value is used in one block only; a result is used after the instruction that names
//!   it, inputs are slots below zero, and the number of uses is exact;
//! - a value isn't narrower than its opcode makes it of arguments as wide as they are said to be;
//! - outputs are in ascending order of slot, and none is the slot's own input;
//! - a block jumps only to a JUMPDEST or a clone, which one block leads to, and has a frame-ending
//!   or suspending instruction only as the last, named by the terminator;
//! - a block is merged only into an earlier JUMPDEST with the same bounds and gas that isn't merged
//!   itself; both end in jumps, and no edge leads to it;
//! - likely targets lie end to end in their pool, begin with JUMPDEST, are ascending, few, and only
//!   where a jump is computed.
//!
//! Once the stack is bounded ([`Stage::StackBounded`]): every slot an instruction or an output
//! touches is within the bounds, and every word above the height at entry is an output.
//!
//! Once gas is summed ([`Stage::GasSummed`]): gas falls from the block's total along its
//! instructions, each time by at least the instruction's own.
//!
//! At the end ([`Stage::Complete`]): chunks cover the blocks, entries are in order and where they
//! must be (contract start, which is the first, continuations, blocks another chunk goes on with or
//! jumps to), may be (JUMPDESTs) and nowhere else, cold blocks have none, that of a merged block is
//! among those of the chunk that it leads to, and their flags are exact.
//!
//! Beside these, which see the program alone, [`verify_source`] compares it with the bytecode,
//! [`verify_meaning`] what its blocks do with what their bytes do, and its jump targets with the
//! code's, [`verify_charges`] what the heads of blocks charge, [`verify_bounds`] for which blocks
//! the leaders of regions check the stack, and [`verify_reach`] the accesses to memory that
//! compiled code doesn't check.
//!
//! Cost: linear in the program, but for a sort of a chunk's blocks.

mod bounds;
mod charges;
mod dataflow;
mod edges;
mod heights;
mod meaning;
mod opcodes;
mod reach;
mod source;
#[cfg(test)]
mod tests;
mod units;

pub use charges::{plan_of, verify_charges};
pub use heights::verify_bounds;
pub use meaning::verify_meaning;
pub use reach::{Access, verify_reach};
pub use source::{Source, verify_source};

use super::entities::{Block, Chunk, Entry, Inst, Value};
use super::opcode::Opcode;
use super::program::Program;
use core::fmt;

/// How far the passes have come, and so what must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Blocks, instructions and values are there; chunks and entries aren't.
    Lifted,
    /// The stack bounds are there too.
    StackBounded,
    /// The static gas is there too.
    GasSummed,
    /// Everything is there.
    Complete,
}

/// An invariant that doesn't hold, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entity}: {defect}")]
pub struct VerifyError {
    /// The entity that has the defect.
    pub entity: Entity,
    /// What is wrong with it.
    pub defect: Defect,
}

/// An entity of a program, or the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after the entity it holds")]
pub enum Entity {
    Program,
    Block(Block),
    Inst(Inst),
    Value(Value),
    Entry(Entry),
    Chunk(Chunk),
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program => f.write_str("program"),
            Self::Block(block) => block.fmt(f),
            Self::Inst(inst) => inst.fmt(f),
            Self::Value(value) => value.fmt(f),
            Self::Entry(entry) => entry.fmt(f),
            Self::Chunk(chunk) => chunk.fmt(f),
        }
    }
}

/// What is wrong with an entity. The message of each variant is its documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the error attribute says the same for people and machines")]
#[non_exhaustive]
pub enum Defect {
    #[error("has no block at pc 0")]
    NoStart,
    #[error("its bytes overlap the block before, are out of order, or lie outside the code")]
    BytesOutOfOrder,
    #[error("its instructions don't begin where those of the block before end")]
    InstSpan,
    #[error("its outputs don't begin where those of the block before end")]
    OutputSpan,
    #[error("its arguments don't begin where those of the instruction before end")]
    ArgSpan,
    #[error("its likely targets don't begin where those of the block before end")]
    TargetSpan,
    #[error("its likely targets aren't ascending, or too many, or it has no computed jump")]
    LikelyTargets,
    #[error("instructions, arguments, outputs or targets are left over after the last block")]
    Leftover,
    #[error("its pc is outside the code")]
    InstOutside,
    #[error("the opcode isn't one that stays an instruction in this fork")]
    NotAnInstruction,
    #[error("it has {found} arguments where the opcode takes {expected}")]
    ArgCount { found: usize, expected: usize },
    #[error("it has a result where the opcode pushes none, or none where it pushes one")]
    ResultCount,
    #[error("its result {0} is defined by something else")]
    ResultDefinition(Value),
    #[error("it names {0}, which doesn't exist")]
    Missing(Entity),
    #[error("it uses {0}, which belongs to another block")]
    ForeignValue(Value),
    #[error("it uses {0} before its definition")]
    UseBeforeDefinition(Value),
    #[error("it is an input but its slot {0} isn't below zero")]
    InputSlot(i16),
    #[error("it is said to be the result of {0}, which has another or none")]
    NotItsResult(Inst),
    #[error("it is said to have {bits} bits where {least} to 256 are possible")]
    TooNarrow { bits: u16, least: u16 },
    #[error("it counts {found} uses but has {expected}")]
    UseCount { found: u32, expected: u32 },
    #[error("its outputs aren't in ascending order of slot at slot {0}")]
    OutputOrder(i16),
    #[error("its output at slot {0} is what the slot holds at entry")]
    OutputUnchanged(i16),
    #[error("it is a clone, and {0} blocks lead to it")]
    SharedClone(u32),
    #[error("it jumps to {0}, which doesn't begin with JUMPDEST")]
    NotJumpDest(Block),
    #[error("it says to be where a jump may lead, and is a copy, or not the one at a JUMPDEST")]
    NotTheJumpDest,
    #[error("no block says to begin at the JUMPDEST at {0}")]
    JumpDestLost(u32),
    #[error("it leads to {0}, which is merged into another block")]
    LeadsToMerged(Block),
    #[error("it is merged into {0}, which isn't an identical block before it that stays")]
    MergedInto(Block),
    #[error("it stops at {0}, which is outside the code")]
    StopPc(u32),
    #[error("it hands over at {0}, which is outside the code")]
    HandOverPc(u32),
    #[error(
        "it ends or suspends the frame, or jumps, but isn't the one its block's terminator names"
    )]
    EndsInside,
    #[error("its terminator names {0}, which isn't its last instruction or doesn't end it so")]
    TerminatorInst(Inst),
    #[error("slot {0} is outside the stack bounds")]
    SlotOutOfBounds(i32),
    #[error("its height {0} is outside the stack bounds")]
    HeightOutOfBounds(i32),
    #[error("it outputs {found} of {expected} words pushed above the height at entry")]
    OutputMissing { found: usize, expected: usize },
    #[error("its gas is less than that of what follows")]
    GasGrows,
    #[error("its stack bounds aren't those of its opcodes")]
    StackBounds,
    #[error("it goes on after {0}, which ends a block, or isn't its fork's, or isn't revm's")]
    GoesThrough(Opcode),
    #[error("its gas isn't the static gas of its opcodes")]
    BlockGas,
    #[error("it isn't where its block's opcodes are, or other gas than said comes after it")]
    GasAfter,
    #[error("nothing is planned for its head, which would check and charge nothing")]
    NoPlan,
    #[error("its region isn't in one piece in the order of translation, or it isn't there once")]
    RegionOrder,
    #[error("it isn't entered as its place in a region says: from elsewhere, or at other heights")]
    OtherRegion,
    #[error("the bounds that {0} checks don't cover it")]
    NotCovered(Block),
    #[error("its head charges something else than it and what is charged with it cost")]
    ChargeTotal,
    #[error("its gas is said to be charged before it, and there are other ways to it")]
    ChargedElsewhere,
    #[error("it charges ahead for other blocks, and its instructions may spend that")]
    PrepaysWhileSpending,
    #[error("on the way to {0} something else is charged ahead than {0} takes for charged")]
    ChargeLost(Block),
    #[error("it accesses memory without a check, and may lie outside")]
    OutsideMemory,
    #[error("it doesn't make sure of the memory that all other blocks rely on")]
    InitialMemory,
    #[error("it isn't what its opcode is, or takes other words")]
    OtherThanItsBytes,
    #[error("{0} is missing, which may fail or be observed")]
    Dropped(Opcode),
    #[error("memory isn't what its opcodes make it, where that can be told")]
    OtherMemory,
    #[error("it begins or goes on at {0}, and its opcodes don't")]
    OtherPath(u32),
    #[error("it ends otherwise than its opcodes, or goes on elsewhere")]
    OtherEnd,
    #[error("its opcodes leave another word in slot {0}")]
    OtherStack(i16),
    #[error("it takes the word in slot {0} for known, and isn't always entered with it")]
    OtherConstant(i16),
    #[error("chunks or entries exist before they are made")]
    TooEarly,
    #[error("its blocks don't begin where those of the chunk before end, or there are none")]
    ChunkBlocks,
    #[error("its entries don't begin where those of the chunk before end, or lie outside it")]
    ChunkEntries,
    #[error("it belongs to another chunk than it says")]
    WrongChunk,
    #[error("it and its block don't name each other, or disagree on pc or JUMPDEST")]
    EntryMismatch,
    #[error("it must have an entry point")]
    EntryMissing,
    #[error("it has an entry point that nothing asks for")]
    EntryNeedless,
    #[error("it is said to be a continuation but isn't, or the other way round")]
    ContinuationFlag,
    #[error("{found} entry points, more than {limit}")]
    EntryCount { found: usize, limit: usize },
}

/// Verifies a program.
///
/// # Errors
///
/// The first [`VerifyError`] found.
pub fn verify(program: &Program, stage: Stage) -> Result<(), VerifyError> {
    dataflow::verify(program)?;
    if stage >= Stage::StackBounded {
        bounds::verify_stack(program)?;
    }
    if stage >= Stage::GasSummed {
        bounds::verify_gas(program)?;
    }
    if stage >= Stage::Complete {
        units::verify(program)
    } else {
        ensure(
            program.chunks.is_empty() && program.entries.is_empty(),
            Entity::Program,
            Defect::TooEarly,
        )
    }
}

/// Fails with the defect of the entity unless `holds`.
fn ensure(holds: bool, entity: Entity, defect: Defect) -> Result<(), VerifyError> {
    if holds { Ok(()) } else { Err(VerifyError { entity, defect }) }
}
