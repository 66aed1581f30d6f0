//! In which state caches and backend are when a block is executed.

use clap::ValueEnum;
use serde::Serialize;
use std::fmt;

/// A way to repeat blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One block again and again, all compiled
    Hot,
    /// All blocks in turn, all compiled
    Rotating,
    /// All compiled, after caches were filled with 128 MiB of other data
    Cold,
    /// Backend empty at first, all blocks in order, once; idle in between
    Live,
    /// A new backend for each block
    Fresh,
    /// In turn; programs are looked up, then all is interpreted
    Found,
}

impl Mode {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 6] =
        [Self::Hot, Self::Rotating, Self::Cold, Self::Live, Self::Fresh, Self::Found];

    /// Whether all that gets hot is compiled before.
    pub fn is_warm(self) -> bool {
        !self.compiles()
    }

    /// Whether compiling is a part of it. Then only engines that compile in the background have a
    /// meaning: the time of the others would be mostly the compiler's.
    pub fn compiles(self) -> bool {
        matches!(self, Self::Live | Self::Fresh)
    }

    /// How often it is repeated. Modes that compile take long, and a third will do.
    pub fn rounds(self, rounds: usize) -> usize {
        if self.compiles() { rounds.div_ceil(3) } else { rounds }
    }
}

/// As on the command line.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hot => "hot",
            Self::Rotating => "rotating",
            Self::Cold => "cold",
            Self::Live => "live",
            Self::Fresh => "fresh",
            Self::Found => "found",
        })
    }
}
