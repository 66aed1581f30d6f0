//! What an opcode does besides reading and writing the stack.

use core::fmt;

/// A set of effects.
///
/// Static gas isn't an effect: it is charged for a whole block. Whether an instruction may
/// be left out when nobody uses its result is [`Effects::is_removable`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Effects(u16);

impl Effects {
    /// No effect: a function of the arguments and of what can't change while the block runs
    /// (the frame's input, the transaction, the block header).
    pub const PURE: Self = Self(0);
    /// Reads the frame's memory or its size.
    pub const READS_MEMORY: Self = Self(1 << 0);
    /// Writes the frame's memory.
    pub const WRITES_MEMORY: Self = Self(1 << 1);
    /// May grow the frame's memory, which charges gas and so may fail.
    pub const GROWS_MEMORY: Self = Self(1 << 2 | Self::FAILS.0);
    /// Reads the account's storage.
    pub const READS_STORAGE: Self = Self(1 << 3);
    /// Writes the account's storage.
    pub const WRITES_STORAGE: Self = Self(1 << 4);
    /// Reads the account's transient storage.
    pub const READS_TRANSIENT: Self = Self(1 << 5);
    /// Writes the account's transient storage.
    pub const WRITES_TRANSIENT: Self = Self(1 << 6);
    /// Reads accounts or past blocks: balances, code, hashes. May warm an account.
    pub const READS_ACCOUNTS: Self = Self(1 << 7);
    /// Writes accounts.
    pub const WRITES_ACCOUNTS: Self = Self(1 << 8);
    /// Emits a log; fails in a static frame.
    pub const WRITES_LOGS: Self = Self(1 << 9 | Self::FAILS.0);
    /// Depends on the exact gas left.
    pub const OBSERVES_GAS: Self = Self(1 << 10);
    /// May fail, or charges gas beyond its static gas.
    pub const FAILS: Self = Self(1 << 11);
    /// Decides where execution goes on.
    pub const JUMPS: Self = Self(1 << 12);
    /// Ends the frame.
    pub const ENDS_FRAME: Self = Self(1 << 13);
    /// Suspends the frame until another one has run.
    pub const SUSPENDS: Self = Self(1 << 14);
    /// Every effect that running another frame may have.
    pub const SUSPENDING: Self = Self(
        Self::SUSPENDS.0
            | Self::READS_MEMORY.0
            | Self::WRITES_MEMORY.0
            | Self::GROWS_MEMORY.0
            | Self::READS_STORAGE.0
            | Self::WRITES_STORAGE.0
            | Self::READS_TRANSIENT.0
            | Self::WRITES_TRANSIENT.0
            | Self::READS_ACCOUNTS.0
            | Self::WRITES_ACCOUNTS.0
            | Self::WRITES_LOGS.0
            | Self::OBSERVES_GAS.0,
    );

    /// The effects of either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all effects of `other` are in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any effect of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is no effect at all.
    pub const fn is_pure(self) -> bool {
        self.0 == 0
    }

    /// Whether an instruction whose result nobody uses may be left out: it only observes.
    pub const fn is_removable(self) -> bool {
        let observing = Self::READS_MEMORY
            .union(Self::READS_STORAGE)
            .union(Self::READS_TRANSIENT)
            .union(Self::OBSERVES_GAS);
        observing.contains(self)
    }
}

/// The names of the effects, joined by `|`; `pure` for none.
impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 15] = [
            "reads-memory",
            "writes-memory",
            "grows-memory",
            "reads-storage",
            "writes-storage",
            "reads-transient",
            "writes-transient",
            "reads-accounts",
            "writes-accounts",
            "writes-logs",
            "observes-gas",
            "fails",
            "jumps",
            "ends-frame",
            "suspends",
        ];
        if self.is_pure() {
            return f.write_str("pure");
        }
        let mut separator = "";
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 >> bit & 1 != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::opcode::Opcode;

    #[test]
    fn only_observers_are_removable() {
        for opcode in [Opcode::ADD, Opcode::GAS, Opcode::MSIZE, Opcode::ADDRESS, Opcode::TLOAD] {
            assert!(opcode.effects().is_removable(), "{opcode}");
        }
        for opcode in [Opcode::EXP, Opcode::MLOAD, Opcode::SLOAD, Opcode::LOG0, Opcode::CALL] {
            assert!(!opcode.effects().is_removable(), "{opcode}");
        }
    }

    #[test]
    fn effects_are_listed_by_name() {
        assert_eq!(format!("{:?}", Opcode::ADD.effects()), "pure");
        assert_eq!(format!("{:?}", Opcode::MLOAD.effects()), "reads-memory|grows-memory|fails");
    }
}
