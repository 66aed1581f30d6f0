//! How compiled code does an opcode: the one word from which all else follows.

use core::fmt;

/// How compiled code does an opcode. The opcode table (`ir::opcode`) says it of each; whether one
/// charges gas by its operands, may fail, may be dropped, is code of ours or revm's, is derived
/// from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Implementation {
    /// Nothing is left of it: it moves stack words, pushes a constant, or is JUMPDEST.
    Stack,
    /// Instructions of the machine, on words and on what lies in the frame.
    Native,
    /// A builtin that computes with words alone; with some constant operands native.
    Words,
    /// An access to memory: native where memory reaches, else a builtin that grows it and charges.
    Memory,
    /// A builtin in place of revm's instruction: it charges gas and may fail.
    Charged,
    /// revm's own instruction, called.
    Delegated,
    /// A jump.
    Jump,
    /// A jump, or not, by a condition.
    Branch,
    /// The end of the frame, without an instruction.
    Stop,
    /// revm's own instruction, which ends the frame.
    Exit,
    /// revm's own instruction, which suspends the frame until another one has run.
    Suspend,
    /// The interpreter goes on there.
    HandOver,
}

impl Implementation {
    /// Whether it may charge gas beyond its static gas, or fail, before the block is over: what
    /// compiled code has charged ahead may not be there any more after it.
    pub const fn charges(self) -> bool {
        match self {
            Self::Memory | Self::Charged | Self::Delegated | Self::Exit | Self::Suspend => true,
            Self::Stack
            | Self::Native
            | Self::Words
            | Self::Jump
            | Self::Branch
            | Self::Stop
            | Self::HandOver => false,
        }
    }

    /// Whether compiled code makes the result itself, of words or of what lies in the frame, and
    /// nothing else happens: never by revm's instruction, which a chain may have replaced.
    pub const fn computes(self) -> bool {
        matches!(self, Self::Stack | Self::Native | Self::Words)
    }

    /// Whether compiled code does it by its own means, if need be with a builtin's help: what
    /// contracts do most, and gain by.
    pub const fn is_own(self) -> bool {
        match self {
            Self::Stack
            | Self::Native
            | Self::Words
            | Self::Memory
            | Self::Jump
            | Self::Branch
            | Self::Stop => true,
            Self::Charged | Self::Delegated | Self::Exit | Self::Suspend | Self::HandOver => false,
        }
    }

    /// Whether it is an instruction of a block once the stack is lifted.
    pub const fn is_instruction(self) -> bool {
        self.stays_inside() || matches!(self, Self::Exit | Self::Suspend)
    }

    /// Whether it is an instruction after which its block goes on.
    pub const fn stays_inside(self) -> bool {
        matches!(self, Self::Native | Self::Words | Self::Memory | Self::Charged | Self::Delegated)
    }
}

/// What people call it.
impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stack => "stack",
            Self::Native => "native",
            Self::Words => "native or builtin on words",
            Self::Memory => "native, builtin to grow",
            Self::Charged => "builtin",
            Self::Delegated => "revm's",
            Self::Jump | Self::Branch => "jump",
            Self::Stop => "end",
            Self::Exit => "revm's, end",
            Self::Suspend => "revm's, suspends",
            Self::HandOver => "interpreted",
        })
    }
}
