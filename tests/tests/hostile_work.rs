//! Hostile code makes at most a few times the work of a contract of the same size, and work in
//! proportion to its length.
//!
//! Counted, not timed, so that a busy machine doesn't matter: instructions of Cranelift's IR and
//! bytes of machine code, which compile time follows, and basic blocks and entry points.
//! `benches/hostile.rs` measures the time of the same codes. The contract is seaport; its counts
//! are constants here, which are compared with the contract where the data is present.

use cranevm_cli::Contract;
use cranevm_codegen::{CompileError, Compiler, CompilerOptions, OptimizationLevel};
use cranevm_passes::AnalysisError;
use cranevm_tests::{
    fixtures,
    hostile::{ALL, Hostile},
    parallel,
};
use revm::primitives::hardfork::SpecId;
use std::sync::{Mutex, PoisonError};

const KIB: usize = 1024;

/// Work for each byte of bytecode.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// Instructions of Cranelift's IR.
    clif: f64,
    /// Bytes of machine code.
    code: f64,
    /// Basic blocks.
    blocks: f64,
    /// Entry points.
    entries: f64,
}

/// Seaport's work, where Cranelift compiles it.
const SEAPORT: Work = Work { clif: 3.3, code: 18.6, blocks: 0.061, entries: 0.045 };

/// Lengths in bytes at which hostile code is compared with itself. The register allocator takes too
/// long for tests of more.
const LENGTHS: [usize; 2] = [6 * KIB, 24 * KIB];

/// Most work of hostile code, as a multiple of seaport's.
const MAX_RATIO: f64 = 5.0;

/// Most work for each byte of a longer code, as a multiple of that of the shorter one.
const MAX_GROWTH: f64 = 1.3;

/// Work that isn't compared, for it is less than a contract's, as a part of seaport's.
const HARMLESS: f64 = 1.0;

impl Work {
    /// The work of compiling a code; `None` if it is refused.
    fn of(compiler: &mut Compiler, code: &[u8]) -> Option<Self> {
        match compiler.compile(code, SpecId::OSAKA) {
            Ok(compiled) => {
                let per_byte = |count: usize| count as f64 / code.len() as f64;
                Some(Self {
                    clif: per_byte(compiled.report.clif_instructions as usize),
                    code: per_byte(compiled.code_bytes()),
                    blocks: per_byte(compiled.report.blocks as usize),
                    entries: per_byte(compiled.entries()),
                })
            }
            Err(CompileError::Analysis(AnalysisError::TooManyEntries { .. })) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn compiler(compile_all: bool) -> Compiler {
        let options = CompilerOptions { compile_all, ..CompilerOptions::default() };
        Compiler::new(options).expect("a compiler for this machine")
    }

    /// What compile time follows, as multiples of another's.
    fn ratios(&self, base: &Self) -> [(&'static str, f64); 2] {
        [("CLIF", self.clif / base.clif), ("code", self.code / base.code)]
    }
}

/// Compares hostile code, all of it compiled, with seaport and with itself at another length.
/// Returns a line of the report and, of the longer code, the largest multiple of seaport's work.
fn check(hostile: &Hostile) -> (f64, String) {
    let mut compiler = Work::compiler(true);
    let name = hostile.name;
    let [short, long] = LENGTHS.map(|len| Work::of(&mut compiler, &(hostile.code)(len)));
    let short = short.expect("few entry points");
    let worst = |work: &Work| work.ratios(&SEAPORT).map(|(_, ratio)| ratio);
    let largest = worst(long.as_ref().unwrap_or(&short)).into_iter().fold(0.0, f64::max);
    for work in [Some(&short), long.as_ref()].into_iter().flatten() {
        for (what, ratio) in work.ratios(&SEAPORT) {
            assert!(ratio <= MAX_RATIO, "{name}: {what} {ratio:.1} x");
        }
        // A block has at least a byte, and is a clone of one of at most as many.
        assert!(work.blocks <= 2.0 && work.entries <= 1.01, "{name}: {work:?}");
    }
    if let Some(long) = long {
        let growths = long.ratios(&short).into_iter().zip(short.ratios(&SEAPORT));
        for ((what, growth), (_, ratio)) in growths {
            let is_harmless = ratio * growth <= HARMLESS;
            assert!(
                growth <= MAX_GROWTH || is_harmless,
                "{name}: {what} grows {growth:.2} x, from {short:.2?} to {long:.2?}"
            );
        }
    }
    (largest, format!("{largest:5.1} x {name}: {short:.1?}"))
}

#[test]
fn hostile_code_makes_bounded_work() {
    let report = Mutex::new(Vec::new());
    parallel::for_each(
        ALL.len(),
        || (),
        |(), job| {
            let line = check(&ALL[job]);
            report.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        },
    );
    let mut report = report.into_inner().unwrap_or_default();
    report.sort_by(|a, b| b.0.total_cmp(&a.0));
    report.iter().for_each(|(_, line)| println!("{line}"));
}

/// Each opcode that fills a contract: what the translator makes of one byte is bounded.
#[test]
fn every_opcode_repeated_makes_bounded_work() {
    const LEN: usize = 4 * KIB;
    let report = Mutex::new(Vec::new());
    let new_compiler = || Work::compiler(true);
    parallel::for_each(256, new_compiler, |compiler, byte| {
        let Some(work) = Work::of(compiler, &[byte as u8; LEN]) else { return };
        for (what, ratio) in work.ratios(&SEAPORT) {
            assert!(ratio <= MAX_RATIO, "{byte:#04x}: {what} {ratio:.1} x");
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.push((ratio, format!("{ratio:5.1} x {byte:#04x} {what}")));
        }
    });
    let mut report = report.into_inner().unwrap_or_default();
    report.sort_by(|a, b| b.0.total_cmp(&a.0));
    report.iter().take(40).for_each(|(_, line)| println!("{line}"));
}

/// The constants are what they say: hostile code is compared with the contract as it is compiled
/// today.
#[test]
fn the_budget_is_seaports() {
    let Some(path) = fixtures::find("the_budget_is_seaports", "bench/seaport.json") else { return };
    let seaport = Contract::read(&path).expect("a fixture");
    let work = Work::of(&mut Work::compiler(false), &seaport.code).expect("seaport isn't refused");
    println!("{work:?}");
    let Work { clif, code, blocks, entries } = work;
    for (what, found, constant) in [
        ("CLIF", clif, SEAPORT.clif),
        ("code", code, SEAPORT.code),
        ("blocks", blocks, SEAPORT.blocks),
        ("entries", entries, SEAPORT.entries),
    ] {
        let range = 0.8 * constant..=1.25 * constant;
        assert!(range.contains(&found), "{what}: {found:.3}");
    }
}

/// Most bytes of first-tier code for a byte of hostile code. Deployed contracts have twelve.
const MAX_STENCIL_BYTES: f64 = 60.0;

/// The first tier copies at most a stencil for each opcode, with a block's head: its work is the
/// bytes that it makes, and in proportion to the length.
#[test]
fn hostile_code_of_stencils_is_bounded_and_linear() {
    let options =
        CompilerOptions { opt_level: OptimizationLevel::None, ..CompilerOptions::default() };
    let mut compiler = Compiler::new(options).expect("a compiler for this machine");
    for hostile in ALL {
        let lengths = [12_288, 24_576];
        let [short, long] = lengths.map(|len| Work::of(&mut compiler, &(hostile.code)(len)));
        let short = short.expect("few entry points");
        for work in [Some(&short), long.as_ref()].into_iter().flatten() {
            assert!(work.code <= MAX_STENCIL_BYTES, "{}: {work:.1?}", hostile.name);
            // Behind the last byte may be one more.
            assert!(work.blocks <= 1.0 && work.entries <= 1.01, "{}: {work:?}", hostile.name);
        }
        if let Some(long) = long {
            let growth = long.code / short.code;
            assert!(growth <= MAX_GROWTH, "{}: grows {growth:.2} x", hostile.name);
        }
    }
}
