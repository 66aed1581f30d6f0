//! The two hashes by which a state test states its outcome.

use alloy_primitives::{Address, B256, Log, keccak256};
use alloy_trie::{
    TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};
use revm::database::PlainAccount;

/// Keccak-256 of the RLP list of the logs.
pub fn logs_hash(logs: &[Log]) -> B256 {
    let mut rlp = Vec::with_capacity(alloy_rlp::list_length(logs));
    alloy_rlp::encode_list(logs, &mut rlp);
    keccak256(rlp)
}

/// The root of the state's Merkle-Patricia trie (yellow paper, section 4.1).
pub fn state_root<'a>(accounts: impl IntoIterator<Item = (Address, &'a PlainAccount)>) -> B256 {
    state_root_unhashed(
        accounts.into_iter().map(|(address, account)| (address, trie_account(account))),
    )
}

fn trie_account(account: &PlainAccount) -> TrieAccount {
    // A slot of zero is a slot that isn't there.
    let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
    TrieAccount {
        nonce: account.info.nonce,
        balance: account.info.balance,
        storage_root: storage_root_unhashed(slots.map(|(key, value)| (B256::from(*key), *value))),
        code_hash: account.info.code_hash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{U256, b256};

    #[test]
    fn empty_values_have_the_known_hashes() {
        // keccak256(rlp([])) and keccak256(rlp("")).
        let no_logs = b256!("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");
        let no_state = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
        assert_eq!(logs_hash(&[]), no_logs);
        assert_eq!(state_root(std::iter::empty()), no_state);
    }

    #[test]
    fn a_zero_slot_changes_nothing() {
        let mut account = PlainAccount::default();
        let before = state_root([(Address::ZERO, &account)]);
        account.storage.insert(U256::ONE, U256::ZERO);
        assert_eq!(state_root([(Address::ZERO, &account)]), before);
        account.storage.insert(U256::ONE, U256::ONE);
        assert_ne!(state_root([(Address::ZERO, &account)]), before);
    }
}
