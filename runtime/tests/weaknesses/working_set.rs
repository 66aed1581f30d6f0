//! Which contracts keep their programs, where there is room for a part of them only.

use crate::common::{
    LONG, SPEC, TARGET, TestEvm, call, database, enabled, evm, is_resident, request,
};
use cranevm::{
    OptimizationLevel,
    primitives::{Address, TxKind, keccak256},
    revm_evm::JitEvm,
    runtime::{
        AotRequest, ArtifactStore, JitBackend, LookupDecision, LookupRequest, RuntimeArtifactStore,
        RuntimeConfig, RuntimeTuning,
    },
};
use revm::{
    ExecuteEvm,
    bytecode::opcode::*,
    context::TxEnv,
    database::{CacheDB, EmptyDB},
};
use std::{ops::Range, sync::Arc};

/// Contracts of a working set.
const CONTRACTS: usize = 125;
/// Of so many, a fifth of which has no room.
const ROOM: usize = CONTRACTS * 4 / 5;

/// Contract `n`: stores a number in memory. All take as much code.
fn code(n: usize) -> Vec<u8> {
    let [.., a, b, c, d] = ((1 << 30) + n).to_be_bytes();
    vec![PUSH4, a, b, c, d, PUSH0, MSTORE, STOP]
}

fn address(n: usize) -> Address {
    Address::from_word(keccak256(n.to_be_bytes()))
}

fn wanted(n: usize) -> LookupRequest {
    request(&code(n))
}

/// Compiles once, for a program takes another size where it is made better.
fn tuning() -> RuntimeTuning {
    RuntimeTuning { jit_opt_level: OptimizationLevel::None, ..Default::default() }
}

/// Bytes of one of these programs, compiled or from the store. They take multiples of 64 bytes, so
/// 64 of them are whole pages.
fn program_bytes() -> usize {
    let bytes = [true, false].map(|is_stored| {
        let store = is_stored.then(|| store_of(0..64));
        let backend = JitBackend::new(RuntimeConfig { store, ..enabled(tuning()) }).unwrap();
        (0..64).for_each(|n| backend.compile_jit_sync(wanted(n)).unwrap());
        backend.stats().jit_total_bytes() as usize / 64
    });
    bytes[0].max(bytes[1])
}

/// A configuration with room for so many programs.
fn with_room(programs: usize) -> RuntimeConfig {
    enabled(RuntimeTuning { resident_code_cache_bytes: programs * program_bytes(), ..tuning() })
}

/// A store that has the artifacts of contracts.
fn store_of(contracts: Range<usize>) -> Arc<dyn ArtifactStore> {
    let store: Arc<dyn ArtifactStore> = Arc::new(RuntimeArtifactStore::new().unwrap());
    let config = RuntimeConfig { store: Some(Arc::clone(&store)), ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let requests = contracts.map(|n| {
        let LookupRequest { key, code } = wanted(n);
        AotRequest { code_hash: key.code_hash, code, spec_id: SPEC }
    });
    for made in backend.prepare_aot_batch_sync(requests.collect()) {
        made.unwrap();
    }
    store
}

/// An EVM that calls contracts of two working sets.
struct World {
    backend: JitBackend,
    evm: JitEvm<TestEvm<CacheDB<EmptyDB>>>,
    /// Of the order of calls, if that is random.
    random: Option<u64>,
}

impl World {
    fn new(config: RuntimeConfig, is_random: bool) -> Self {
        let codes: Vec<_> = (0..2 * CONTRACTS).map(|n| (address(n), code(n))).collect();
        let contracts: Vec<_> = codes.iter().map(|(address, code)| (*address, &code[..])).collect();
        let backend = JitBackend::new(config).unwrap();
        let evm = JitEvm::new(evm(database(&contracts), SPEC), backend.clone());
        Self { backend, evm, random: is_random.then_some(0x2545_f491_4f6c_dd1d) }
    }

    /// The contract to call as the `n`th of a round.
    fn next(&mut self, n: usize) -> usize {
        let Some(random) = &mut self.random else { return n };
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        (*random % CONTRACTS as u64) as usize
    }

    /// Calls as many contracts from `first` on as are in a working set, some rounds long; the share
    /// of frames that were native.
    fn run(&mut self, first: usize, rounds: usize) -> f64 {
        let before = self.backend.stats().frames;
        for _ in 0..rounds {
            for n in 0..CONTRACTS {
                let to = TxKind::Call(address(first + self.next(n)));
                let tx = TxEnv::builder().kind(to).gas_limit(100_000).build().unwrap();
                assert!(self.evm.transact(tx).unwrap().result.is_success());
            }
            assert!(self.backend.wait_idle(LONG));
        }
        let after = self.backend.stats().frames;
        let native = after.native().frames - before.native().frames;
        native as f64 / (rounds * CONTRACTS) as f64
    }
}

/// A working set a quarter larger than what there is room for, called in turn or in random order:
/// what has room stays, and what hasn't doesn't push it out. And if the work moves on to other
/// contracts, these get the room.
fn check_working_sets(store: Option<Arc<dyn ArtifactStore>>, is_random: bool) {
    let mut world = World::new(RuntimeConfig { store, ..with_room(ROOM) }, is_random);
    for first in [0, CONTRACTS] {
        // Compiled when it has run a few times; and the second set, when it has run more than the
        // first still counts for.
        world.run(first, 120);
        let made_before = made(&world.backend);
        let native = world.run(first, 100);
        let made = made(&world.backend) - made_before;
        println!("random {is_random}, from {first}: {native} native, {made} programs made");
        assert!(native >= 0.7, "from {first}: {native} native, {made} programs made");
        assert!(made <= CONTRACTS as u64, "from {first}: {native} native, {made} programs made");
    }
}

/// Programs compiled or loaded.
fn made(backend: &JitBackend) -> u64 {
    let stats = backend.stats();
    stats.compilations_dispatched + stats.artifacts_loaded
}

#[test]
fn r8_a_working_set_beyond_the_budget_stays_native_and_is_followed_in_a_loop() {
    check_working_sets(None, false);
}

#[test]
fn r8_a_working_set_beyond_the_budget_stays_native_and_is_followed_in_random_order() {
    check_working_sets(None, true);
}

#[test]
fn r8_a_working_set_of_a_store_stays_native_and_is_followed_in_a_loop() {
    check_working_sets(Some(store_of(0..2 * CONTRACTS)), false);
}

#[test]
fn r8_a_working_set_of_a_store_stays_native_and_is_followed_in_random_order() {
    check_working_sets(Some(store_of(0..2 * CONTRACTS)), true);
}

/// Contracts that are called so many times and never again, and after each of them some of those
/// that come again and again: the share of these that stays native, and how many of the others are
/// compiled.
fn flood(contracts: usize, calls: usize, between: usize) -> (f64, u64) {
    const HOT: usize = 40;
    let backend = JitBackend::new(with_room(HOT + 10)).unwrap();
    let is_native = |n| matches!(backend.lookup(wanted(n)), LookupDecision::Compiled(_));
    let threshold = RuntimeTuning::default().jit_hot_threshold;
    for n in 0..HOT {
        (0..threshold).for_each(|_| assert!(!is_native(n)));
    }
    assert!(backend.wait_idle(LONG));
    let (mut hits, before) = (0, backend.stats().compilations_dispatched);
    for n in 0..contracts {
        for _ in 0..calls {
            is_native(HOT + n);
        }
        hits += (0..between).filter(|m| is_native((n * between + m) % HOT)).count();
        if n % 1000 == 0 {
            assert!(backend.wait_idle(LONG));
        }
    }
    let native = hits as f64 / (contracts * between) as f64;
    let stats = backend.stats();
    let compiled = stats.compilations_dispatched - before;
    println!("{native} native, {compiled} compiled, {} refused", stats.admissions_refused);
    (native, compiled)
}

/// Contracts that become hot once.
#[test]
fn r8_a_flood_of_contracts_displaces_nothing_that_is_used() {
    let (native, compiled) = flood(100_000, RuntimeTuning::default().jit_hot_threshold, 1);
    assert!(native == 1.0 && compiled <= 100, "{native} native, {compiled} compiled");
}

/// Contracts that are each called more often, in their time, than one of the others is.
#[test]
fn r8_a_flood_of_contracts_that_are_called_often_displaces_little_that_is_used() {
    let (native, compiled) = flood(10_000, 40, 20);
    assert!(native >= 0.95, "{native} native, {compiled} compiled");
}

/// A contract that gets no room asks again, but not each time that it is used.
#[test]
fn r8_who_is_refused_asks_at_a_bounded_rate() {
    const HOT: usize = 10;
    const ROUNDS: u64 = 10_000;
    let mut config = with_room(HOT);
    config.tuning.jit_hot_threshold = 1;
    let backend = JitBackend::new(config).unwrap();
    (0..HOT).for_each(|n| backend.compile_jit(wanted(n)));
    assert!(backend.wait_idle(LONG));
    for _ in 0..ROUNDS {
        for n in 0..=HOT {
            let found = backend.lookup(wanted(n));
            assert_eq!(matches!(found, LookupDecision::Compiled(_)), n < HOT, "{n}");
        }
    }
    let refused = backend.stats().admissions_refused;
    assert!((10..=ROUNDS / 64 + 10).contains(&refused), "{refused}");
}

/// What runs long counts, however seldom that is.
#[test]
fn r8_a_contract_that_burns_much_gas_displaces_what_isnt_used() {
    // 65,535 rounds of some 40 gas.
    let burning = [PUSH2, 0xff, 0xff, JUMPDEST, PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 3, JUMPI, STOP];
    let backend = JitBackend::new(with_room(4)).unwrap();
    (0..4).for_each(|n| backend.compile_jit(wanted(n)));
    assert!(backend.wait_idle(LONG));
    let mut evm = JitEvm::new(evm(database(&[(TARGET, &burning)]), SPEC), backend.clone());
    for _ in 0..5 {
        let tx = TxEnv { gas_limit: 16_000_000, ..call() };
        assert!(evm.transact(tx).unwrap().result.is_success());
        assert!(backend.wait_idle(LONG));
    }
    assert!(is_resident(&backend, &request(&burning)), "{:?}", backend.stats());
}
