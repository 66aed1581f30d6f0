//! The passes that can be left out, one by one: to find the one that a defect comes from, and to
//! measure what each gives.

use core::fmt;

/// A set of optional passes. The program stays right whichever are left out.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PassSet(u8);

/// The name of each pass, by its bit.
const NAMES: [&str; 7] = [
    "simplify",
    "remove-unused",
    "dedup",
    "resolve-jumps",
    "forward-memory",
    "dead-stores",
    "thread-jumps",
];

impl PassSet {
    /// No pass.
    pub const NONE: Self = Self(0);
    /// Constants are folded and instructions rewritten into cheaper ones while they are lifted.
    pub const SIMPLIFY: Self = Self(1 << 0);
    /// Instructions whose result nobody uses are dropped.
    pub const REMOVE_UNUSED: Self = Self(1 << 1);
    /// Identical blocks are merged.
    pub const DEDUP: Self = Self(1 << 2);
    /// The targets of computed jumps are predicted.
    pub const RESOLVE_JUMPS: Self = Self(1 << 3);
    /// Loads of words that the block has stored or loaded before become those words.
    pub const FORWARD_MEMORY: Self = Self(1 << 4);
    /// Stores to memory that are overwritten unseen are dropped; so are, by the translator, those
    /// to the stack.
    pub const DEAD_STORES: Self = Self(1 << 5);
    /// Internal calls are followed.
    pub const THREAD_JUMPS: Self = Self(1 << 6);
    /// All optional passes.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The passes of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all passes of `other` are in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Each pass of the set, as a set of its own.
    pub fn iter(self) -> impl Iterator<Item = Self> {
        (0..NAMES.len()).map(|bit| Self(1 << bit)).filter(move |&pass| self.contains(pass))
    }

    /// The set of the pass with a name, in kebab case.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().position(|&known| known == name).map(|bit| Self(1 << bit))
    }
}

/// The names of the passes, joined by `,`; `none` if there are none.
impl fmt::Display for PassSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 >> bit & 1 != 0 {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl fmt::Debug for PassSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_passes() {
        let each: Vec<PassSet> = PassSet::ALL.iter().collect();
        assert_eq!(each.len(), NAMES.len());
        for pass in each {
            assert_eq!(PassSet::from_name(&pass.to_string()), Some(pass));
            assert!(!PassSet::NONE.contains(pass));
        }
        assert_eq!(PassSet::from_name("decode"), None);
        let both = PassSet::SIMPLIFY.union(PassSet::REMOVE_UNUSED);
        assert_eq!(both.to_string(), "simplify,remove-unused");
        assert_eq!(PassSet::NONE.to_string(), "none");
    }
}
