//! The ways in which a basic block can end.

use crate::{
    assembly::{Assembly, Label},
    programs::values::PEERS,
};
use alloy_primitives::U256;
use revm::bytecode::opcode::*;

/// A byte that no fork has assigned.
const UNKNOWN: u8 = 0x0c;

/// Beyond the calldata of all programs: a word of zeros there is computed, to compiled code.
const BEYOND_CALLDATA: usize = 0x1000;

/// How a block ends, and what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ending {
    /// `STOP`.
    Stop,
    /// The code ends.
    CodeEnd,
    /// `RETURN` of memory that the block may not have reached.
    Return,
    /// `RETURN` of nothing.
    ReturnNothing,
    /// `REVERT`.
    Revert,
    /// `INVALID`.
    Invalid,
    /// A byte that is no opcode.
    Unknown,
    /// `JUMP` to a constant.
    Jump,
    /// `JUMP` to a computed pc.
    JumpComputed,
    /// `JUMP` to a constant that is no `JUMPDEST`.
    JumpBad,
    /// `JUMP` to a computed pc that is no `JUMPDEST`.
    JumpBadComputed,
    /// `JUMPI` that is taken.
    BranchTaken,
    /// `JUMPI` that isn't.
    BranchUntaken,
    /// `JUMPI` on what the last instruction left.
    BranchOnResult,
    /// `JUMPI` to a computed pc, taken.
    BranchComputed,
    /// `JUMPI` to no `JUMPDEST`, taken.
    BranchBad,
    /// `JUMPI` to no `JUMPDEST`, not taken.
    BranchBadUntaken,
    /// The next instruction is a `JUMPDEST`.
    Fall,
    /// `CALL` of a contract.
    Call,
    /// `STATICCALL` with all gas.
    StaticCall,
    /// `CREATE` of nothing.
    Create,
    /// `SELFDESTRUCT`.
    Selfdestruct,
    /// `JUMPI` back to the block, three times.
    Loop,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Stop,
        Self::CodeEnd,
        Self::Return,
        Self::ReturnNothing,
        Self::Revert,
        Self::Invalid,
        Self::Unknown,
        Self::Jump,
        Self::JumpComputed,
        Self::JumpBad,
        Self::JumpBadComputed,
        Self::BranchTaken,
        Self::BranchUntaken,
        Self::BranchOnResult,
        Self::BranchComputed,
        Self::BranchBad,
        Self::BranchBadUntaken,
        Self::Fall,
        Self::Call,
        Self::StaticCall,
        Self::Create,
        Self::Selfdestruct,
        Self::Loop,
    ];

    /// The opcode that a fork must have for it.
    pub const fn opcode(self) -> u8 {
        match self {
            Self::Revert => REVERT,
            Self::StaticCall => STATICCALL,
            _ => STOP,
        }
    }

    /// Appends the ending of the block that begins at `head`, with the counter on the stack's top
    /// if it is a loop. pc 0 must be no `JUMPDEST`.
    pub fn append(self, asm: Assembly, head: Label) -> Assembly {
        let mut asm = asm;
        let next = asm.new_label();
        match self {
            Self::CodeEnd => asm,
            Self::Stop => tail(asm.op(STOP).label(next)),
            Self::Return => tail(asm.push(0x40).push(0x20).op(RETURN).label(next)),
            Self::ReturnNothing => asm.push(0).push(0).op(RETURN),
            Self::Revert => asm.push(0x21).push(0x20).op(REVERT),
            Self::Invalid => tail(asm.op(INVALID).label(next)),
            Self::Unknown => tail(asm.op(UNKNOWN).label(next)),
            Self::Jump => tail(asm.push_label(next).op(JUMP).label(next)),
            Self::JumpComputed => tail(add_zero(asm.push_label(next)).op(JUMP).label(next)),
            Self::JumpBad => tail(asm.push(0).op(JUMP).label(next)),
            Self::JumpBadComputed => tail(add_zero(asm.push(0)).op(JUMP).label(next)),
            Self::BranchTaken => branch(asm.op(CALLVALUE).op(ISZERO).push_label(next), next),
            Self::BranchUntaken => branch(asm.op(CALLVALUE).push_label(next), next),
            Self::BranchOnResult => branch(asm.push_label(next), next),
            Self::BranchComputed => {
                branch(add_zero(asm.op(CALLVALUE).op(ISZERO).push_label(next)), next)
            }
            Self::BranchBad => branch(asm.op(CALLVALUE).op(ISZERO).push(0), next),
            Self::BranchBadUntaken => branch(asm.op(CALLVALUE).push(0), next),
            Self::Fall => tail(asm.label(next)),
            Self::Call => {
                let asm = asm.push(0).push(0).push(0).push(0).push(0);
                tail(asm.push(peer()).push(5_000).op(CALL))
            }
            Self::StaticCall => {
                let asm = asm.push(0x40).push(0x20).push(0).push(0);
                tail(asm.push(peer()).op(GAS).op(STATICCALL))
            }
            Self::Create => tail(asm.push(0).push(0).push(0).op(CREATE)),
            Self::Selfdestruct => asm.push(peer()).op(SELFDESTRUCT),
            Self::Loop => {
                let asm = asm.push(1).op(SWAP1).op(SUB).op(DUP1).push_label(head).op(JUMPI);
                tail(asm)
            }
        }
    }
}

fn peer() -> U256 {
    PEERS[0].into_word().into()
}

fn add_zero(asm: Assembly) -> Assembly {
    asm.push(BEYOND_CALLDATA).op(CALLDATALOAD).op(ADD)
}

/// A branch, whose other way costs something else.
fn branch(asm: Assembly, next: Label) -> Assembly {
    tail(asm.op(JUMPI).op(CALLVALUE).op(CALLER).op(ADD).op(POP).label(next))
}

/// Shows the gas that is left.
fn tail(asm: Assembly) -> Assembly {
    asm.op(GAS).return_top()
}
