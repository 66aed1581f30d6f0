//! How much the first tier may compile on the thread of an EVM: for each transaction, and for each
//! block.
//!
//! What is beyond that is a worker's to compile, and interpreted until then. The measure is bytes
//! of machine code, with its tables, which time follows: hostile bytecode that takes longer becomes
//! more of it. A contract is compiled if anything is left, so the last may go beyond.

use revm::primitives::U256;

/// Bytes that a transaction may have made: of some 200 KB of bytecode, in some 10 milliseconds.
const FOR_A_TRANSACTION: usize = 3 << 20;

/// The same for a block: four such transactions.
const FOR_A_BLOCK: usize = 4 * FOR_A_TRANSACTION;

/// What is left of it, for one EVM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// The number of the block.
    block: Option<U256>,
    of_block: usize,
    of_transaction: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { block: None, of_block: FOR_A_BLOCK, of_transaction: FOR_A_TRANSACTION }
    }
}

impl Allowance {
    /// A transaction begins, in the block of this number.
    #[inline]
    pub(crate) fn begin_transaction(&mut self, block: U256) {
        if self.block != Some(block) {
            *self = Self { block: Some(block), ..Self::default() };
        }
        self.of_transaction = FOR_A_TRANSACTION;
    }

    /// Whether anything is left.
    #[inline]
    pub(crate) const fn is_open(&self) -> bool {
        self.of_transaction > 0 && self.of_block > 0
    }

    /// Takes what a contract became.
    pub(crate) const fn take(&mut self, bytes: usize) {
        self.of_transaction = self.of_transaction.saturating_sub(bytes);
        self.of_block = self.of_block.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_and_a_block_have_their_limits() {
        let mut allowance = Allowance::default();
        let mut transactions = 0;
        for _ in 0..9 {
            allowance.begin_transaction(U256::ONE);
            transactions += u32::from(allowance.is_open());
            (0..4).for_each(|_| allowance.take(FOR_A_TRANSACTION / 4));
            assert!(!allowance.is_open());
        }
        assert_eq!(transactions, 4);
        allowance.begin_transaction(U256::from(2));
        assert!(allowance.is_open());
        allowance.take(usize::MAX);
        assert!(!allowance.is_open());
    }
}
