//! The node: a state in lanes, and an EVM factory that executes blocks on it with several threads.

use crate::blocks::{Block, Size, genesis};
use alloy_evm::{Evm, EvmEnv, EvmFactory};
use alloy_trie::{
    TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};
use cranevm::{
    SpecId,
    primitives::{Address, B256, U256},
};
use revm::{
    context::{BlockEnv, CfgEnv, TxEnv, result::HaltReason},
    database::{CacheDB, DbAccount, EmptyDB},
};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A lane's state.
type State = CacheDB<EmptyDB>;

/// What executing blocks came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Executed {
    pub(crate) transactions: u64,
    pub(crate) failed: u64,
    pub(crate) gas: u64,
    pub(crate) time: Duration,
}

/// A chain's state, and how its transactions are executed.
pub(crate) struct Node<F> {
    factory: F,
    lanes: Vec<Mutex<State>>,
}

impl<F> Node<F>
where
    F: EvmFactory<Spec = SpecId, BlockEnv = BlockEnv, Tx = TxEnv, HaltReason = HaltReason> + Sync,
{
    /// A node at genesis.
    pub(crate) fn new(factory: F, size: Size) -> Self {
        let lanes = (0..size.lanes).map(|lane| Mutex::new(genesis(lane))).collect();
        Self { factory, lanes }
    }

    /// Executes and commits a block: each lane in order, different lanes on different threads.
    pub(crate) fn execute(
        &self,
        number: u64,
        block: &Block,
        threads: usize,
    ) -> eyre::Result<Executed> {
        let start = Instant::now();
        let env = environment(number);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut sum = Executed::default();
            loop {
                let lane = next.fetch_add(1, Ordering::Relaxed);
                let (Some(state), Some(transactions)) = (self.lanes.get(lane), block.get(lane))
                else {
                    return eyre::Ok(sum);
                };
                sum.add(self.execute_lane(&mut lock(state), &env, transactions)?);
            }
        };
        let mut executed = if threads == 1 { work()? } else { on_threads(threads, work)? };
        executed.time = start.elapsed();
        Ok(executed)
    }

    fn execute_lane(
        &self,
        state: &mut State,
        env: &EvmEnv,
        transactions: &[TxEnv],
    ) -> eyre::Result<Executed> {
        let mut sum = Executed::default();
        let mut evm = self.factory.create_evm(state, env.clone());
        for transaction in transactions {
            let result =
                evm.transact_commit(transaction.clone()).map_err(|error| eyre::eyre!("{error}"))?;
            sum.transactions += 1;
            sum.failed += u64::from(!result.is_success());
            sum.gas += result.tx_gas_used();
        }
        Ok(sum)
    }

    /// The root of the state's trie, over the accounts of all lanes.
    pub(crate) fn state_root(&self) -> B256 {
        let mut accounts: Vec<(Address, TrieAccount)> = Vec::new();
        for state in &self.lanes {
            let state = lock(state);
            let existing = state.cache.accounts.iter().filter(|(_, account)| !is_empty(account));
            accounts.extend(existing.map(|(address, account)| (*address, trie_account(account))));
        }
        state_root_unhashed(accounts)
    }
}

impl Executed {
    pub(crate) fn add(&mut self, other: Self) {
        self.transactions += other.transactions;
        self.failed += other.failed;
        self.gas += other.gas;
        self.time += other.time;
    }

    /// Millions of gas a second.
    pub(crate) fn mgas_per_second(&self) -> f64 {
        self.gas as f64 / self.time.as_secs_f64().max(1e-9) / 1e6
    }
}

/// Runs `work` on so many threads, and sums up what they did.
fn on_threads(
    threads: usize,
    work: impl Fn() -> eyre::Result<Executed> + Sync,
) -> eyre::Result<Executed> {
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        let mut sum = Executed::default();
        for handle in handles {
            sum.add(handle.join().map_err(|_| eyre::eyre!("a worker panicked"))??);
        }
        Ok(sum)
    })
}

/// The environment of a block. Gas is free, so that the beneficiary's account, which all lanes
/// share, stays empty.
fn environment(number: u64) -> EvmEnv {
    let cfg_env = CfgEnv::<SpecId>::default().with_spec_and_mainnet_gas_params(SpecId::PRAGUE);
    let block_env = BlockEnv {
        number: U256::from(number),
        timestamp: U256::from(12 * number),
        gas_limit: u64::MAX,
        ..BlockEnv::default()
    };
    EvmEnv { cfg_env, block_env }
}

fn is_empty(account: &DbAccount) -> bool {
    account.info.is_empty()
}

fn trie_account(account: &DbAccount) -> TrieAccount {
    // A slot of zero is a slot that isn't there.
    let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
    TrieAccount {
        nonce: account.info.nonce,
        balance: account.info.balance,
        storage_root: storage_root_unhashed(slots.map(|(slot, value)| (B256::from(*slot), *value))),
        code_hash: account.info.code_hash,
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic of a worker ends the program, whatever it left here.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
