//! Everything a client can see of an execution, and how two of them differ.

use crate::{
    case::{Case, SENDER},
    database::{InjectedError, Read, ReadLog},
};
use alloy_primitives::Address;
use revm::{
    ExecuteCommitEvm,
    context::{
        BlockEnv, TxEnv,
        result::{EVMError, ExecutionResult},
    },
    state::{Account, EvmState},
};
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What became of one transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was executed.
    Executed(Box<Execution>),
    /// The EVM returned an error: an invalid transaction, or the database's.
    Error(String),
    /// The EVM panicked with this message.
    Panic(String),
}

/// An executed transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Status, gas (spent, refunded, state gas, floor), output and logs.
    pub result: ExecutionResult,
    /// Every account loaded, with status flags, storage (original and present values) and warmth.
    pub state: BTreeMap<Address, Account>,
}

/// What can be seen of a case's execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// By transaction.
    pub outcomes: Vec<Outcome>,
    /// Reads of the database, in order.
    pub reads: Vec<Read>,
}

impl Observation {
    /// Whether every transaction was executed.
    pub fn all_executed(&self) -> bool {
        self.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Executed(_)))
    }

    /// The result of the only transaction.
    ///
    /// # Panics
    /// If it wasn't executed, or isn't the only one.
    pub fn result(&self) -> &ExecutionResult {
        match self.outcomes.as_slice() {
            [Outcome::Executed(execution)] => &execution.result,
            other => panic!("not one executed transaction: {other:?}"),
        }
    }

    /// How `actual` differs from `self`, one difference a line; empty if it doesn't.
    pub fn diff(&self, actual: &Self) -> Diff {
        let mut diff = Diff::default();
        let pairs = self.outcomes.iter().zip(&actual.outcomes).enumerate();
        for (index, (expected, actual)) in pairs {
            diff.outcome(index, expected, actual);
        }
        diff.value("transactions", &self.outcomes.len(), &actual.outcomes.len());
        if self.reads != actual.reads {
            let at = self.reads.iter().zip(&actual.reads).take_while(|(a, b)| a == b).count();
            diff.value(&format!("database read {at}"), &self.reads.get(at), &actual.reads.get(at));
            diff.value("database reads", &self.reads.len(), &actual.reads.len());
        }
        diff
    }
}

/// Differences of two observations as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    lines: Vec<String>,
}

impl Diff {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn value<T: PartialEq + fmt::Debug>(&mut self, what: &str, expected: &T, actual: &T) {
        if expected != actual {
            self.lines.push(format!("{what}: interpreter {expected:?}, native {actual:?}"));
        }
    }

    fn outcome(&mut self, index: usize, expected: &Outcome, actual: &Outcome) {
        let (Outcome::Executed(expected), Outcome::Executed(actual)) = (expected, actual) else {
            return self.value(&format!("transaction {index}"), expected, actual);
        };
        let Execution { result, state } = &**expected;
        self.value(&format!("transaction {index} result"), result, &actual.result);
        for address in state.keys().chain(actual.state.keys().filter(|a| !state.contains_key(*a))) {
            let what = format!("transaction {index} account {address}");
            match (state.get(address), actual.state.get(address)) {
                (Some(expected), Some(actual)) => self.account(&what, expected, actual),
                (expected, actual) => self.value(&what, &expected, &actual),
            }
        }
    }

    fn account(&mut self, what: &str, expected: &Account, actual: &Account) {
        if expected == actual {
            return;
        }
        self.value(&format!("{what} info"), &expected.info, &actual.info);
        self.value(&format!("{what} status"), &expected.status, &actual.status);
        let original = (expected.original_info(), actual.original_info());
        self.value(&format!("{what} original info"), &original.0, &original.1);
        let mut keys: Vec<_> = expected.storage.keys().chain(actual.storage.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let slots = (expected.storage.get(key), actual.storage.get(key));
            self.value(&format!("{what} slot {key:#x}"), &slots.0, &slots.1);
        }
        self.value(&format!("{what} loaded in"), &expected.transaction_id, &actual.transaction_id);
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// Runs the transactions of a case on one EVM object, committing each before the next. An
/// error or panic doesn't end the series: the same EVM must stay usable. revm cleans up after an
/// error but not after a panic, so that `recover` does what it would have done.
pub fn observe<E>(mut evm: E, case: &Case, reads: &ReadLog, recover: impl Fn(&mut E)) -> Observation
where
    E: ExecuteCommitEvm<
            ExecutionResult = ExecutionResult,
            State = EvmState,
            Error = EVMError<InjectedError>,
            Tx = TxEnv,
            Block = BlockEnv,
        >,
{
    let mut nonce = 0;
    let mut outcomes = Vec::with_capacity(case.transactions.len());
    for transaction in &case.transactions {
        let tx = transaction.to_env(nonce);
        let outcome = match catch_unwind(AssertUnwindSafe(|| evm.transact(tx))) {
            Ok(Ok(executed)) => {
                nonce = executed.state.get(&SENDER).map_or(nonce, |sender| sender.info.nonce);
                evm.commit(executed.state.clone());
                let state = executed.state.into_iter().collect();
                Outcome::Executed(Box::new(Execution { result: executed.result, state }))
            }
            Ok(Err(error)) => Outcome::Error(format!("{error:?}")),
            Err(panic) => {
                recover(&mut evm);
                evm.finalize();
                Outcome::Panic(panic_message(&*panic))
            }
        };
        outcomes.push(outcome);
    }
    drop(evm);
    Observation { outcomes, reads: reads.take() }
}

/// The text of a panic's payload.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a payload that isn't text").to_owned()
}
