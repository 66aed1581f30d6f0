//! Contracts that run are native before they are hot, and nobody sees it but in counters.

#![cfg(feature = "cranelift")]

mod common;

use common::{CALLEE, SPEC, TARGET, call, database, enabled, eventually, evm, request, summing};
use cranevm::{
    primitives::{Address, Bytes, TxKind, U256},
    revm_evm::JitEvm,
    runtime::{
        BackendOptions, FirstTierStats, InterpretReason, JitBackend, JitMode, LookupDecision,
        ProgramStatus, RuntimeConfig, RuntimeTuning,
    },
};
use revm::{
    Database, ExecuteEvm,
    bytecode::opcode::*,
    context::TxEnv,
    context_interface::result::ExecutionResult,
    database::{CacheDB, EmptyDB},
};
use std::{convert::Infallible, thread, time::Duration};

/// A tuning by which nothing gets hot by frames. (Half a million gas makes it so all the same.)
fn never_hot() -> RuntimeTuning {
    RuntimeTuning { jit_hot_threshold: usize::MAX, ..Default::default() }
}

/// A backend whose first tier is ready.
fn backend(tuning: RuntimeTuning) -> JitBackend {
    let backend = JitBackend::new(enabled(tuning)).unwrap();
    let is_ready = |n: u64| {
        // Other code each time: before it is ready, what runs gets hot.
        let code = [&summing()[..], &n.to_be_bytes()].concat();
        let mut jit = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
        for _ in 0..2 {
            assert_eq!(word(&mut jit, call()), U256::from(500_500));
        }
        backend.stats().first_tier.succeeded > 0
    };
    assert!((0..100_000).any(is_ready), "the first tier gets ready");
    backend.clear_resident();
    eventually("all is freed", || backend.stats().jit_total_bytes() == 0);
    backend
}

fn transact<DB: Database<Error = Infallible>>(
    jit: &mut JitEvm<common::TestEvm<DB>>,
    tx: TxEnv,
) -> ExecutionResult {
    jit.transact(tx).unwrap().result
}

/// The word that a transaction returned.
fn word<DB: Database<Error = Infallible>>(
    jit: &mut JitEvm<common::TestEvm<DB>>,
    tx: TxEnv,
) -> U256 {
    U256::from_be_slice(transact(jit, tx).output().expect("the contracts return"))
}

/// As [`summing`], 65,536 numbers: for three million gas.
fn summing_long() -> Vec<u8> {
    let mut code = summing();
    code.splice(1..4, [PUSH3, 1, 0, 0]);
    code[16] = 5;
    code
}

/// Code and then, never reached, what becomes much machine code; different for each `n`.
fn padded(mut code: Vec<u8>, len: usize, n: u8) -> Vec<u8> {
    while code.len() + 6 < len {
        code.extend([JUMPDEST, CALLDATASIZE, DUP1, MUL, POP]);
    }
    code.push(n);
    code
}

fn first(backend: &JitBackend) -> FirstTierStats {
    backend.stats().first_tier
}

#[test]
fn a_contract_is_native_once_it_has_burnt_its_worth() {
    let backend = backend(never_hot());
    let before = backend.stats();
    let code = summing();
    let mut jit = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
    assert_eq!(word(&mut jit, call()), U256::from(500_500));
    let cold = backend.stats();
    assert_eq!(cold.first_tier.dispatched, before.first_tier.dispatched, "it waits to be worth it");
    for calls in 1..4 {
        assert_eq!(word(&mut jit, call()), U256::from(500_500));
        let stats = backend.stats();
        let native = stats.frames.baseline.frames - cold.frames.baseline.frames;
        assert_eq!((native, stats.first_tier.resident), (calls, 1));
    }
    assert_eq!(first(&backend).dispatched, before.first_tier.dispatched + 1);
    assert!(first(&backend).nanoseconds > 0);
    // Nobody else sees it.
    let stats = backend.stats();
    assert_eq!((stats.resident_entries, stats.compilations_dispatched), (0, 0));
    assert_eq!(stats.lookup_hits, 0);
    assert!(stats.jit_code_bytes > 0 && stats.jit_data_bytes > 0);
    let LookupDecision::Interpret(why) = backend.lookup(request(&code)) else {
        panic!("found by a lookup")
    };
    assert_eq!(why, InterpretReason::NotReady);
    let key = request(&code).key;
    assert!(backend.get_compiled(key.code_hash, SPEC).is_none());
    assert!(matches!(backend.status(&key), ProgramStatus::Cold { .. }));
    // Another EVM has it at its first frame.
    let mut other = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
    let frames = backend.stats().frames.baseline.frames;
    assert_eq!(word(&mut other, call()), U256::from(500_500));
    assert_eq!(backend.stats().frames.baseline.frames, frames + 1);
}

/// One frame that burns much goes on natively in its midst.
#[test]
fn a_long_frame_gets_native_while_it_runs() {
    let backend = backend(never_hot());
    let before = backend.stats();
    let code = summing_long();
    let mut jit = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
    let long = TxEnv { gas_limit: 16_000_000, ..call() };
    assert_eq!(word(&mut jit, long), U256::from(0x1_0000_u64 * 0x1_0001 / 2));
    let stats = backend.stats();
    assert_eq!(stats.frames.entered_on_stack - before.frames.entered_on_stack, 1);
    assert!(stats.frames.baseline.gas - before.frames.baseline.gas > 1_000_000, "{stats:?}");
}

/// What is hot is found by lookups, and what has burnt its worth once more gets better code.
#[test]
fn what_gets_hot_gives_way_to_the_other_tiers() {
    let backend = backend(RuntimeTuning { jit_hot_threshold: 12, ..Default::default() });
    let before = backend.stats().compilations_dispatched;
    let code = summing();
    let mut jit = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
    let sum = U256::from(500_500);
    for _ in 0..11 {
        assert_eq!(word(&mut jit, call()), sum);
    }
    assert_eq!(first(&backend).resident, 1);
    assert_eq!(backend.stats().compilations_dispatched, before);
    assert_eq!(word(&mut jit, call()), sum);
    eventually("lookups find it", || {
        backend.get_compiled(request(&code).key.code_hash, SPEC).is_some()
    });
    assert!(matches!(backend.status(&request(&code).key), ProgramStatus::Baseline));
    assert_eq!((first(&backend).resident, backend.stats().resident_entries), (0, 1));
    assert_eq!(backend.stats().upgrades_dispatched, 0, "that has to be earned");
    for _ in 0..20 {
        assert_eq!(word(&mut jit, call()), sum);
    }
    eventually("the optimising tier has it", || {
        matches!(backend.status(&request(&code).key), ProgramStatus::Ready)
    });
    assert_eq!((first(&backend).resident, backend.stats().resident_entries), (0, 1));
    let before = backend.stats().frames;
    assert_eq!(word(&mut jit, call()), sum);
    assert_eq!(backend.stats().frames.optimised.frames, before.optimised.frames + 1);
    assert_eq!(backend.stats().frames.baseline, before.baseline);
}

/// It needs no worker, and what it takes is less than interpreting takes.
#[test]
fn it_works_without_workers_paused_and_shut_down() {
    let backend = backend(RuntimeTuning { jit_worker_count: 0, ..never_hot() });
    backend.pause();
    let run = |code: &[u8]| {
        let mut jit = JitEvm::new(evm(database(&[(TARGET, code)]), SPEC), backend.clone());
        let before = backend.stats().frames.baseline.frames;
        for _ in 0..3 {
            assert_eq!(word(&mut jit, call()), U256::from(500_500));
        }
        backend.stats().frames.baseline.frames - before
    };
    assert_eq!(run(&summing()), 2);
    backend.shut_down();
    assert_eq!(run(&[&summing()[..], &[1]].concat()), 2);
    backend.set_enabled(false).unwrap();
    assert_eq!(run(&[&summing()[..], &[2]].concat()), 0);
}

#[test]
fn there_is_none_where_it_is_not_wanted() {
    let blocking = RuntimeConfig { blocking: true, ..enabled(never_hot()) };
    let helper = RuntimeConfig { jit_mode: JitMode::OutOfProcess, ..enabled(never_hot()) };
    let off = BackendOptions::default().first_tier(false);
    // The stencils are made once in a process: so it would be ready at once.
    drop(backend(never_hot()));
    for backend in [
        JitBackend::new(blocking).unwrap(),
        JitBackend::new(helper).unwrap(),
        JitBackend::with_options(enabled(never_hot()), off).unwrap(),
    ] {
        let code = summing();
        let mut jit = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
        thread::sleep(Duration::from_millis(100));
        for _ in 0..8 {
            assert_eq!(word(&mut jit, call()), U256::from(500_500));
        }
        assert_eq!(first(&backend), FirstTierStats::default());
        assert_eq!(backend.stats().frames.baseline.frames, 0);
    }
}

#[test]
fn clear_resident_and_the_budget_hold_for_it() {
    let room = 64 << 10;
    let backend = backend(RuntimeTuning { resident_code_cache_bytes: room, ..never_hot() });
    let run = |n| {
        let code = padded(summing(), 500, n);
        let mut jit = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
        for _ in 0..9 {
            assert_eq!(word(&mut jit, call()), U256::from(500_500));
        }
    };
    (0..20).for_each(run);
    let stats = backend.stats();
    let most = room as u64 + stats.first_tier.resident * 4096;
    assert!(stats.first_tier.resident > 1 && stats.jit_total_bytes() <= most, "{stats:?}");
    backend.clear_resident();
    eventually("all is freed", || backend.stats().jit_total_bytes() == 0);
    assert_eq!(first(&backend).resident, 0);
    run(0);
    assert_eq!(first(&backend).resident, 1, "and is made again");
}

/// Code that calls each of these accounts three times.
fn calling_all(accounts: &[Address]) -> Vec<u8> {
    let mut code = Vec::new();
    for account in accounts.iter().cycle().take(3 * accounts.len()) {
        code.extend([PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, PUSH20]);
        code.extend(account.as_slice());
        code.extend([PUSH3, 0x7f, 0, 0, CALL, POP]);
    }
    code.push(STOP);
    code
}

/// Code that executes as many bytes, and then burns three million gas; different for each `n`.
fn long_way(len: usize, n: u8) -> Vec<u8> {
    let mut code = padded(vec![PUSH1, n, POP], len, JUMPDEST);
    code.extend([PUSH3, 1, 0, 0]);
    let [.., high, low] = code.len().to_be_bytes();
    code.extend([JUMPDEST, PUSH1, 1, SWAP1, SUB, DUP1, PUSH2, high, low, JUMPI, STOP]);
    code
}

/// An EVM of so many large contracts that burn much, and where they are.
fn large_contracts(
    backend: &JitBackend,
    count: u8,
) -> (JitEvm<common::TestEvm<CacheDB<EmptyDB>>>, Vec<Address>) {
    let accounts: Vec<_> = (0..count).map(|n| Address::repeat_byte(0x40 + n)).collect();
    let caller = calling_all(&accounts);
    let codes: Vec<_> = (0..count).map(|n| long_way(24_000, n)).collect();
    let mut contracts: Vec<_> =
        accounts.iter().zip(&codes).map(|(account, code)| (*account, &code[..])).collect();
    contracts.push((TARGET, &caller));
    let mut inner = evm(database(&contracts), SPEC);
    inner.ctx.cfg.tx_gas_limit_cap = Some(u64::MAX);
    inner.ctx.block.gas_limit = u64::MAX;
    (JitEvm::new(inner, backend.clone()), accounts)
}

/// A transaction that calls many large contracts compiles a bounded part of them.
#[test]
fn a_transaction_compiles_within_its_allowance() {
    const ACCOUNTS: u8 = 20;
    for workers in [1, 0] {
        let backend = backend(RuntimeTuning { jit_worker_count: workers, ..never_hot() });
        // So that workers can't be ahead of it.
        backend.pause();
        let before = first(&backend);
        let (mut jit, _) = large_contracts(&backend, ACCOUNTS);
        let tx = || TxEnv { gas_limit: 900_000_000, ..call() };
        assert!(transact(&mut jit, tx()).is_success());
        let stats = first(&backend);
        let made = stats.dispatched - before.dispatched;
        assert!((3..15).contains(&made), "{stats:?}");
        assert_eq!(made + stats.put_off, u64::from(ACCOUNTS));
        backend.resume();
        if workers == 1 {
            eventually("a worker makes the rest, of whichever tier", || {
                let stats = backend.stats();
                stats.first_tier.resident + stats.resident_entries >= u64::from(ACCOUNTS)
            });
        } else {
            // The next ones do.
            for _ in 0..6 {
                assert!(transact(&mut jit, tx()).is_success());
            }
            assert_eq!(first(&backend).resident, u64::from(ACCOUNTS));
        }
    }
}

/// A block has an allowance of some transactions, and the next one of its own.
#[test]
fn each_block_has_its_allowance() {
    const ACCOUNTS: u8 = 96;
    let backend = backend(RuntimeTuning { jit_worker_count: 0, ..never_hot() });
    let (mut jit, accounts) = large_contracts(&backend, ACCOUNTS);
    let mut made = Vec::new();
    for (block, accounts) in accounts.chunks(48).enumerate() {
        jit.inner_mut().ctx.block.number = U256::from(block + 1);
        let before = first(&backend).dispatched;
        for account in accounts {
            let tx = TxEnv { kind: TxKind::Call(*account), gas_limit: 8_000_000, ..call() };
            for _ in 0..3 {
                assert!(transact(&mut jit, tx.clone()).is_success());
            }
        }
        made.push(first(&backend).dispatched - before);
    }
    assert!(made.iter().all(|made| (12..48).contains(made)), "{made:?}");
}

/// Init code runs once: it is native if it runs for long.
#[test]
fn init_code_that_burns_much_goes_on_natively() {
    let backend = backend(never_hot());
    let before = backend.stats().frames;
    let code = summing_long();
    let create = |code: Vec<u8>, gas_limit| {
        let data = Bytes::from(code);
        TxEnv::builder().kind(TxKind::Create).data(data).gas_limit(gas_limit).build().unwrap()
    };
    let mut jit = JitEvm::new(evm(database(&[]), SPEC), backend.clone());
    let short = transact(&mut jit, create(vec![PUSH0, PUSH0, RETURN], 100_000));
    assert!(short.is_success());
    assert_eq!(backend.stats().frames.baseline, before.baseline);
    let long = transact(&mut jit, create(code.clone(), 16_000_000));
    let mut interpreted = evm(database(&[]), SPEC);
    let oracle = |tx| interpreted.transact(tx).unwrap().result;
    let [_, expected] =
        [create(vec![PUSH0, PUSH0, RETURN], 100_000), create(code, 16_000_000)].map(oracle);
    assert_eq!((&long, long.tx_gas_used()), (&expected, expected.tx_gas_used()));
    let stats = backend.stats();
    assert!(stats.frames.baseline.gas - before.baseline.gas > 1_000_000, "{stats:?}");
    assert_eq!(stats.first_tier.resident, 0, "it is kept for nobody");
    eventually("nothing is left of it", || backend.stats().jit_total_bytes() == 0);
}

/// What a database says of a code's hash gives nobody another's program.
#[test]
fn a_wrong_hash_finds_its_own_code() {
    let backend = backend(never_hot());
    let (honest, other) = (summing(), padded(summing(), 200, 1));
    let run = |code: &[u8], claims: &[u8]| {
        let mut database = database(&[(TARGET, code)]);
        let account = database.cache.accounts.get_mut(&TARGET).unwrap();
        account.info.code_hash = request(claims).key.code_hash;
        let mut jit = JitEvm::new(evm(database, SPEC), backend.clone());
        (0..9).map(|_| word(&mut jit, call())).collect::<Vec<_>>()
    };
    let (expected, of_other) = (run(&honest, &honest), run(&other, &other));
    backend.clear_resident();
    for _ in 0..2 {
        assert_eq!(run(&other, &honest), of_other);
        assert_eq!(run(&honest, &honest), expected);
        assert_eq!(run(&honest, &other), expected);
    }
}

/// The contract that a test runs may be called by another.
#[test]
fn nested_frames_are_native_too() {
    let backend = backend(never_hot());
    let (caller, callee) = (common::calling(), summing());
    let mut jit =
        JitEvm::new(evm(database(&[(TARGET, &caller), (CALLEE, &callee)]), SPEC), backend.clone());
    let mut oracle = evm(database(&[(TARGET, &caller), (CALLEE, &callee)]), SPEC);
    let frames = backend.stats().frames.baseline.frames;
    for _ in 0..30 {
        let expected = oracle.transact(call()).unwrap();
        assert_eq!(jit.transact(call()).unwrap(), expected);
    }
    assert!(backend.stats().frames.baseline.frames > frames + 30);
}

/// Two threads run the same contracts, of which the budget has room for a third: each makes them,
/// enters what the other made, and loses what goes for others.
#[test]
fn threads_make_run_and_evict_the_same_contracts() {
    const CONTRACTS: u8 = 24;
    const ROUNDS: usize = 60;
    let codes: Vec<_> = (0..CONTRACTS).map(|n| padded(summing(), 1500, n)).collect();
    let place = |n: usize| Address::repeat_byte(0x40 + n as u8);
    let contracts: Vec<_> =
        codes.iter().enumerate().map(|(n, code)| (place(n), &code[..])).collect();
    let tuning = RuntimeTuning { resident_code_cache_bytes: 60 << 10, ..never_hot() };
    let backend = backend(tuning);
    // Workers would put other tiers' code in the place of the first one's.
    backend.pause();
    let before = first(&backend);
    let run = |step: usize| {
        let mut jit = JitEvm::new(evm(database(&contracts), SPEC), backend.clone());
        for turn in 0..ROUNDS * codes.len() {
            // A third of them for a while, in an order that differs.
            let n = turn / 200 % 3 * codes.len() / 3 + turn * step % (codes.len() / 3);
            let tx = TxEnv { kind: TxKind::Call(place(n)), ..call() };
            assert_eq!(word(&mut jit, tx), U256::from(500_500), "contract {n} in turn {turn}");
            if turn == ROUNDS * codes.len() / 2 {
                backend.clear_resident();
            }
        }
    };
    thread::scope(|scope| {
        for step in [1, 7] {
            scope.spawn(move || run(step));
        }
    });
    let after = first(&backend);
    assert!(after.succeeded - before.succeeded > u64::from(CONTRACTS), "{after:?}");
    assert_eq!(after.failed, before.failed);
    let stats = backend.stats();
    assert!(stats.evictions > 0 && stats.faults == 0, "{stats:?}");
    assert!(stats.frames.baseline.frames > 500, "{stats:?}");
}

/// Code with so many ways, which calldata chooses by a computed jump: each calls [`CALLEE`], loops,
/// and returns a number of its own.
fn many_ways(ways: u8) -> Vec<u8> {
    const WAY: usize = 64;
    let mut code = vec![PUSH0, CALLDATALOAD, PUSH1, WAY as u8, MUL, PUSH1, WAY as u8, ADD, JUMP];
    for way in 0..usize::from(ways) {
        code.resize(WAY * (way + 1), INVALID);
        code.extend([JUMPDEST, PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, PUSH20]);
        code.extend(CALLEE);
        code.extend([GAS, CALL, POP, PUSH1, 200]);
        let [.., high, low] = code.len().to_be_bytes();
        code.extend([JUMPDEST, PUSH1, 1, SWAP1, SUB, DUP1, PUSH2, high, low, JUMPI]);
        code.extend([PUSH1, way as u8, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    }
    code
}

/// Code is made of what was seen to run, and again of what was seen since; whatever way a frame takes, it
/// comes to the same as interpreted.
#[test]
fn what_runs_later_is_added() {
    const WAYS: u8 = 4;
    let backend = backend(never_hot());
    // Workers would compile it better.
    backend.pause();
    let code = many_ways(WAYS);
    let contracts = [(TARGET, &code[..]), (CALLEE, &[PUSH0, POP, STOP][..])];
    let mut jit = JitEvm::new(evm(database(&contracts), SPEC), backend.clone());
    let mut oracle = evm(database(&contracts), SPEC);
    let mut run = |way: usize| {
        let data = U256::from(way).to_be_bytes_vec().into();
        let tx = || TxEnv { data: Bytes::clone(&data), gas_limit: 200_000, ..call() };
        let expected = oracle.transact(tx()).unwrap();
        assert_eq!(jit.transact(tx()).unwrap(), expected, "way {way}");
        backend.stats()
    };
    let before = first(&backend).succeeded;
    let made = (0..100).map(|_| run(0)).last().unwrap();
    assert_eq!(made.first_tier.succeeded - before, 2, "of it and of what it calls");
    assert_eq!(made.frames.hand_overs.absent_code, 0);
    let other = run(1);
    assert!(other.frames.hand_overs.absent_code > 0, "{other:?}");
    for turn in 0..6000 {
        run(turn * 5 % usize::from(WAYS));
    }
    let (learnt, before) = (run(0), run(0).frames.hand_overs.absent_code);
    let versions = learnt.first_tier.succeeded - made.first_tier.succeeded;
    assert!((1..12).contains(&versions), "{versions}");
    for way in 0..usize::from(WAYS) {
        assert_eq!(run(way).frames.hand_overs.absent_code, before, "way {way}");
    }
}
