//! Many threads run many contracts while everything that can change does: always the interpreter's
//! results, within the budget, and nothing leaks.
//!
//! Runs two seconds; `CRANEVM_SOAK_SECONDS` says how many instead, with a contract more for each
//! hundredth of a second, up to [`MOST_CONTRACTS`]. A run of a minute or more also holds that
//! looking up and publishing take as long at its end as at its beginning.

#[cfg(target_os = "linux")]
#[path = "common/child.rs"]
mod child;
mod common;

#[cfg(target_os = "linux")]
use child::in_a_child;
use common::{LONG, SPEC, TestEvm, database, eventually, evm, numbered, request};
use cranevm::{
    OptimizationLevel,
    primitives::{Address, Bytes, TxKind, keccak256},
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use revm::{
    ExecuteEvm,
    bytecode::opcode::*,
    context::TxEnv,
    database::{CacheDB, EmptyDB},
};
use std::{
    env,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

const THREADS: u64 = 8;

/// Each EVM has a database of its own with all of them.
const MOST_CONTRACTS: usize = 10_000;

/// A budget that is taken up within seconds.
const MOST_BYTES: usize = 4 << 20;

/// Parts of a run whose times are compared.
const PARTS: usize = 10;

/// A generator of numbers that look random (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// A contract that counts down from 40, or from a number of its calldata, mixes words in each round
/// and sometimes stores one; it returns what remains, stops, reverts, fails, or calls the next
/// contract.
fn contract(seed: u64, next: Address) -> Vec<u8> {
    let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut code = vec![PUSH1, random.next() as u8, PUSH0, CALLDATALOAD, PUSH1, 31, AND];
    code.extend([PUSH1, 9, ADD]); // acc n
    // Some straight code before the loop, so that there are several chunks.
    let padding = random.below(4) * 150;
    for _ in 0..padding {
        code.extend([SWAP1, PUSH1, random.next() as u8]);
        code.push([ADD, XOR, MUL, SUB][random.below(4)]);
        code.push(SWAP1);
    }
    let head = code.len() as u16;
    code.push(JUMPDEST);
    for _ in 0..1 + random.below(12) {
        match random.below(10) {
            0 => code.extend([DUP1, PUSH1, 7, AND, SLOAD, SWAP2, ADD, SWAP1]),
            1 => code.extend([DUP2, DUP2, PUSH1, 7, AND, SSTORE]),
            2 => code.extend([SWAP1, PUSH0, MSTORE, PUSH1, 32, PUSH0, KECCAK256, SWAP1]),
            3 => code.extend([DUP1, DUP3, DIV, SWAP2, XOR, SWAP1]),
            4 => code.extend([GAS, PUSH1, 1, AND, POP]),
            _ => {
                let op = [ADD, XOR, MUL, OR, AND, SUB, SDIV, SMOD, SIGNEXTEND][random.below(9)];
                code.extend([SWAP1, PUSH1, random.next() as u8, op, SWAP1]);
            }
        }
    }
    code.extend([PUSH1, 1, SWAP1, SUB, DUP1, PUSH2]);
    code.extend(head.to_be_bytes());
    code.extend([JUMPI, POP]);
    match random.below(8) {
        0 => code.extend([PUSH0, PUSH0, REVERT]),
        1 => code.extend([INVALID]),
        2 | 3 => {
            code.extend([PUSH1, 32, PUSH0, PUSH0, PUSH0, PUSH0, PUSH20]);
            code.extend(next);
            code.extend([PUSH2, 0x40, 0, CALL, ADD, PUSH0, MLOAD, XOR]);
            code.extend([PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
        }
        _ => code.extend([PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]),
    }
    code
}

struct World {
    backend: JitBackend,
    contracts: Vec<(Address, Vec<u8>)>,
    budget: usize,
    stop: AtomicBool,
    transactions: AtomicU64,
}

impl World {
    /// A world for a run of so many seconds. The longer it is, the longer is what nobody uses kept,
    /// so that a long run is at the budget.
    fn new(seconds: u64) -> Self {
        let contracts = (100 * seconds as usize).min(MOST_CONTRACTS);
        let address = |n: usize| Address::from_word(keccak256(n.to_be_bytes()));
        let contracts: Vec<_> = (0..contracts)
            .map(|n| (address(n), contract(n as u64 + 1, address((n + 1) % contracts))))
            .collect();
        // Room for a part of the contracts.
        let budget = (contracts.len() * 1024).min(MOST_BYTES);
        let tuning = RuntimeTuning {
            jit_hot_threshold: 3,
            jit_worker_count: 3,
            resident_code_cache_bytes: budget,
            idle_evict_duration: Some(Duration::from_millis(50 * seconds)),
            eviction_sweep_interval: Duration::from_millis(10),
            event_drain_interval: Duration::from_millis(10),
            compiler_recycle_threshold: 50,
            jit_opt_level: OptimizationLevel::Default,
            ..Default::default()
        };
        let config = RuntimeConfig {
            enabled: true,
            single_error: false,
            tuning,
            on_compilation: Some(std::sync::Arc::new(|_| ())),
            ..Default::default()
        };
        let backend = JitBackend::new(config).unwrap();
        let (stop, transactions) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { backend, contracts, budget, stop, transactions }
    }

    /// Bytes that programs may hold at any time: a twentieth more than the budget, for memory is
    /// held by pages, and what is on its way: some programs, which somebody compiles or executes.
    fn limit(&self) -> u64 {
        let budget = self.budget as u64;
        budget + budget / 20 + (2 << 20)
    }

    fn evm(&self) -> TestEvm<CacheDB<EmptyDB>> {
        let contracts: Vec<_> =
            self.contracts.iter().map(|(address, code)| (*address, &code[..])).collect();
        evm(database(&contracts), SPEC)
    }

    /// Runs transactions on EVMs that live on, and on a plain one. Most run on one of them; the
    /// others are idle for long, and hold nothing of what they ran.
    fn run(&self, seed: u64) {
        let random = &mut Random(seed + 1);
        let mut plain = self.evm();
        let pooled = || JitEvm::new(self.evm(), self.backend.clone());
        let (mut busy, mut idle): (_, Vec<_>) = (pooled(), (0..4).map(|_| pooled()).collect());
        while !self.stop.load(Ordering::Relaxed) {
            // Some contracts are called more often than others.
            let among = [8, self.contracts.len()][random.below(2)];
            let (address, _) = self.contracts[random.below(among)];
            let transaction = TxEnv::builder()
                .kind(TxKind::Call(address))
                .data(Bytes::from(random.next().to_be_bytes().repeat(4)))
                .gas_limit([25_000, 60_000, 3_000_000][random.below(3)])
                .build()
                .unwrap();
            let expected = plain.transact(transaction.clone()).unwrap();
            let jit = match random.below(50) {
                n if n < idle.len() => &mut idle[n],
                _ => &mut busy,
            };
            let found = jit.transact(transaction).unwrap();
            assert_eq!(found.result, expected.result, "contract {address}");
            assert_eq!(found.state, expected.state, "contract {address}");
            self.transactions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes whatever can be changed, and measures on the way.
    fn meddle(&self, length: Duration) -> [Part; PARTS] {
        let random = &mut Random(0x5eed);
        let backend = &self.backend;
        let (begin, mut parts, mut published) =
            (Instant::now(), [(); PARTS].map(|()| Part::default()), 0);
        while !self.stop.load(Ordering::Relaxed) {
            let (_, code) = &self.contracts[random.below(self.contracts.len())];
            let at = begin.elapsed().as_secs_f64() / length.as_secs_f64() * PARTS as f64;
            let part = &mut parts[(at as usize).min(PARTS - 1)];
            let request = request(code);
            let lookup = Instant::now();
            drop(backend.lookup(request.clone()));
            part.lookups.push(lookup.elapsed());
            match random.below(60) {
                0 if random.below(1 + length.as_secs() as usize / 2) == 0 => {
                    backend.clear_resident();
                }
                1 => backend.set_enabled(false).unwrap(),
                2..10 => backend.set_enabled(true).unwrap(),
                10..14 => backend.pause(),
                14..24 => backend.resume(),
                24..28 => backend.compile_jit_sync(request).unwrap(),
                28..32 => drop(backend.status(&request.key)),
                32..36 => {
                    published += 1;
                    let publication = Instant::now();
                    backend.compile_jit_sync(numbered(published)).unwrap();
                    part.publications.push(publication.elapsed());
                }
                #[cfg(target_os = "linux")]
                36 => assert_eq!(in_a_child(|| assert!(!backend.enabled())), Some(0)),
                _ => backend.compile_jit(request),
            }
            thread::sleep(Duration::from_micros(random.next() % 3000));
            let held = backend.stats().jit_total_bytes();
            assert!(held <= self.limit(), "{held} bytes are held, of {}", self.limit());
            part.held = part.held.max(held);
        }
        while backend.is_paused() {
            backend.resume();
        }
        backend.set_enabled(true).unwrap();
        parts
    }
}

/// What was measured in one part of a run.
#[derive(Default)]
struct Part {
    lookups: Vec<Duration>,
    publications: Vec<Duration>,
    /// Most bytes that were held.
    held: u64,
}

impl Part {
    /// The times of a look-up and a publication, undisturbed by other threads: what one in ten
    /// falls below.
    fn times(&mut self) -> Option<[Duration; 2]> {
        let low = |times: &mut Vec<Duration>| {
            let at = times.len() / 10;
            (!times.is_empty()).then(|| *times.select_nth_unstable(at).1)
        };
        Some([low(&mut self.lookups)?, low(&mut self.publications)?])
    }
}

/// Shows what was measured, and if a run was long, makes sure that nothing got slower.
fn compare(mut parts: [Part; PARTS], length: Duration) {
    let times: Vec<_> = parts.iter_mut().filter_map(Part::times).collect();
    println!("part   look-up  publication      held");
    for (at, (part, [lookup, publication])) in parts.iter().zip(&times).enumerate() {
        let (lookup, publication) = (lookup.as_nanos(), publication.as_micros());
        println!("{at:4} {lookup:6} ns {publication:9} us {:6} KiB", part.held >> 10);
    }
    if length < Duration::from_secs(60) {
        return;
    }
    for which in 0..2 {
        let least = |parts: &[[Duration; 2]]| parts.iter().map(|times| times[which]).min().unwrap();
        let (early, late) = (least(&times[..3]), least(&times[PARTS - 3..]));
        assert!(late < early * 3 / 2, "{early:?} at first, {late:?} at last");
    }
}

#[test]
fn soak() {
    let seconds = env::var("CRANEVM_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds: u64 = seconds.unwrap_or(2);
    let length = Duration::from_secs(seconds);
    #[cfg(target_os = "linux")]
    let before = mapped_code();
    let world = World::new(seconds);
    let parts = thread::scope(|scope| {
        let runners: Vec<_> = (0..THREADS)
            .map(|n| {
                scope.spawn({
                    let world = &world;
                    move || world.run(n)
                })
            })
            .collect();
        let meddler = scope.spawn(|| world.meddle(length));
        let start = Instant::now();
        // A runner that ended found a difference: no need to wait for the rest.
        while start.elapsed() < length
            && !meddler.is_finished()
            && !runners.iter().any(|runner| runner.is_finished())
        {
            thread::sleep(Duration::from_millis(20));
        }
        world.stop.store(true, Ordering::Relaxed);
        meddler.join().unwrap()
    });
    compare(parts, length);
    let backend = &world.backend;
    assert!(backend.wait_idle(LONG));
    let stats = backend.stats();
    let transactions = world.transactions.load(Ordering::Relaxed);
    println!("{transactions} transactions: {stats:?}");
    assert!(transactions > 100 && stats.lookup_hits > 20 && stats.compilations_succeeded > 50);
    assert_eq!(stats.pending_jobs, 0);
    let ended = stats.compilations_succeeded + stats.compilations_failed;
    assert_eq!(stats.compilations_dispatched, ended);
    backend.clear_resident();
    eventually("nothing leaks", || backend.stats().jit_total_bytes() == 0);
    drop(world);
    #[cfg(target_os = "linux")]
    assert_eq!(mapped_code(), before, "nothing stays mapped");
}

/// Bytes of this process that are executable and come from no file but one in memory.
#[cfg(target_os = "linux")]
fn mapped_code() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let bytes = |line: &str| {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next()?, fields.next()?);
        let (start, end) = range.split_once('-')?;
        let parse = |text| u64::from_str_radix(text, 16).ok();
        let len = parse(end)? - parse(start)?;
        let is_made = fields.nth(3).is_none_or(|name| name.starts_with("/memfd:"));
        (access.contains('x') && is_made).then_some(len)
    };
    maps.lines().filter_map(bytes).sum()
}
