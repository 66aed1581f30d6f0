//! The chain's genesis, and blocks of transactions to it. Everything follows from a seed.
//!
//! The state is in **lanes**: sets of accounts whose transactions touch no others, as the scheduler
//! of a parallel node would find them. Lanes of a block run in any order, on any thread.

use crate::contracts;
use cranevm::primitives::{Address, Bytes, TxKind, U256, keccak256};
use revm::{
    bytecode::Bytecode,
    context::TxEnv,
    database::{CacheDB, EmptyDB},
    state::AccountInfo,
};

/// What a block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Long computations.
    Compute,
    /// Storage, hashes and token transfers.
    Storage,
    /// Transfers of value and tokens, some computation, some new contracts.
    Mixed,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Compute, Self::Storage, Self::Mixed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Storage => "storage",
            Self::Mixed => "mixed",
        }
    }
}

/// A block: the transactions of each lane.
pub(crate) type Block = Vec<Vec<TxEnv>>;

/// How large the blocks are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) lanes: usize,
    pub(crate) blocks: usize,
    /// Transactions of a lane in a block.
    pub(crate) transactions: usize,
}

/// The state of a lane before the first block.
pub(crate) fn genesis(lane: usize) -> CacheDB<EmptyDB> {
    let mut database = CacheDB::new(EmptyDB::new());
    for user in 0..USERS {
        let account = AccountInfo { balance: U256::from(1u64 << 60), ..AccountInfo::default() };
        database.insert_account_info(address(lane, user), account);
    }
    for (place, code) in
        [(MIXER, contracts::mixer()), (LEDGER, contracts::ledger()), (TOKEN, contracts::token())]
    {
        let account = AccountInfo::default().with_code(Bytecode::new_legacy(code));
        database.insert_account_info(address(lane, place), account);
    }
    for user in 0..USERS {
        let slot = keccak256([address(lane, user).into_word().0, [0; 32]].concat());
        let token = address(lane, TOKEN);
        // An in-memory database of nothing doesn't fail.
        let Ok(()) = database.insert_account_storage(token, slot.into(), U256::from(1u64 << 40));
    }
    database
}

/// The chain's blocks of one kind.
pub(crate) fn blocks(kind: Kind, size: Size) -> Vec<Block> {
    let mut lanes: Vec<_> = (0..size.lanes).map(Lane::new).collect();
    let mut block = || {
        let transactions = |lane: &mut Lane| {
            (0..size.transactions).map(|index| lane.transaction(kind, index)).collect()
        };
        lanes.iter_mut().map(transactions).collect()
    };
    (0..size.blocks).map(|_| block()).collect()
}

/// Accounts without code in each lane.
const USERS: usize = 8;
const MIXER: usize = USERS;
const LEDGER: usize = USERS + 1;
const TOKEN: usize = USERS + 2;

/// Makes a lane's transactions.
struct Lane {
    lane: usize,
    nonces: [u64; USERS],
    random: u64,
    /// First entry of the ledger that wasn't visited yet.
    fresh: u64,
}

impl Lane {
    fn new(lane: usize) -> Self {
        Self { lane, nonces: [0; USERS], random: 0x9e37_79b9_7f4a_7c15 ^ lane as u64, fresh: 0 }
    }

    fn transaction(&mut self, kind: Kind, index: usize) -> TxEnv {
        match (kind, index % 8) {
            (Kind::Compute, _) => self.compute(20_000),
            (Kind::Storage, 0..4) => self.visit(200),
            (Kind::Storage, _) | (Kind::Mixed, 0..3) => self.pay_tokens(),
            (Kind::Mixed, 3..5) => self.pay(),
            (Kind::Mixed, 5) => self.compute(2_000),
            (Kind::Mixed, 6) => self.visit(50),
            (Kind::Mixed, _) => self.send(TxKind::Create, contracts::counter_init(), U256::ZERO),
        }
    }

    fn compute(&mut self, rounds: u64) -> TxEnv {
        let seed = self.next();
        self.call(MIXER, &[rounds, seed])
    }

    /// Visits entries of the ledger: as many again as new ones.
    fn visit(&mut self, count: u64) -> TxEnv {
        let first = self.fresh.saturating_sub(count / 2);
        self.fresh = first + count;
        self.call(LEDGER, &[first, count])
    }

    fn pay_tokens(&mut self) -> TxEnv {
        let (to, amount) = (self.next() as usize % USERS, self.next() % 1000);
        let to = address(self.lane, to).into_word();
        let data = [to.0, U256::from(amount).to_be_bytes()].concat();
        let token = TxKind::Call(address(self.lane, TOKEN));
        self.send(token, data.into(), U256::ZERO)
    }

    fn pay(&mut self) -> TxEnv {
        let (to, amount) = (self.next() as usize % USERS, self.next() % 1000);
        let to = TxKind::Call(address(self.lane, to));
        self.send(to, Bytes::new(), U256::from(amount))
    }

    fn call(&mut self, contract: usize, arguments: &[u64]) -> TxEnv {
        let data: Vec<u8> =
            arguments.iter().flat_map(|&word| U256::from(word).to_be_bytes::<32>()).collect();
        self.send(TxKind::Call(address(self.lane, contract)), data.into(), U256::ZERO)
    }

    fn send(&mut self, kind: TxKind, data: Bytes, value: U256) -> TxEnv {
        let user = self.next() as usize % USERS;
        let nonce = self.nonces[user];
        self.nonces[user] += 1;
        let caller = address(self.lane, user);
        TxEnv { caller, nonce, kind, data, value, gas_limit: GAS_LIMIT, ..TxEnv::default() }
    }

    /// The next number of a linear congruential generator, without its weak low bits.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.random >> 33
    }
}

/// Gas that each transaction may use; free of charge.
const GAS_LIMIT: u64 = 16_000_000;

fn address(lane: usize, place: usize) -> Address {
    Address::from_word(keccak256([lane.to_be_bytes(), place.to_be_bytes()].concat()))
}
