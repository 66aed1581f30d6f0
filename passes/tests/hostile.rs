//! Codes made to be costly: what the passes make of them stays linear in the bytes.

use cranevm_passes::ir::program::Program;
use cranevm_passes::{AnalysisError, MAX_CODE_LEN, MAX_ENTRIES, PassOptions, PassSet, analyze};
use programs::Random;
use revm_primitives::hardfork::SpecId;

#[expect(unreachable_pub, reason = "public for the crate that it is a module of")]
#[path = "../../tests/src/hostile.rs"]
mod hostile;
mod programs;

/// The longest code that any fork runs: Amsterdam's init code.
const LEN: usize = 128 * 1024;

/// The longest contract of most forks.
const CONTRACT_LEN: usize = 24 * 1024;

fn options() -> PassOptions {
    PassOptions { spec_id: SpecId::AMSTERDAM, verify: true, ..PassOptions::default() }
}

fn repeated(pattern: &[u8], len: usize) -> Vec<u8> {
    pattern.iter().copied().cycle().take(len).collect()
}

/// Everything that a program consists of, each item of constant size.
fn size(program: &Program) -> usize {
    program.blocks.len()
        + program.insts.len()
        + program.values.len()
        + program.arg_pool.len()
        + program.output_pool.len()
        + program.entries.len()
        + program.chunks.len()
}

/// An opcode pops at most seven words, and makes as many inputs and arguments, an
/// instruction and a result; it changes at most two slots.
fn check_linear(code: &[u8], what: &str) {
    match analyze(code, &options()) {
        Ok(program) => {
            let size = size(&program);
            assert!(size <= 20 * code.len(), "{what}: {size} items of {} bytes", code.len());
        }
        Err(AnalysisError::TooManyEntries { found, limit }) => {
            assert!(found > limit && limit == MAX_ENTRIES, "{what}: {found}");
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Items for each byte of the program of a code; `None` if it is refused.
fn items_per_byte(code: &[u8], compile_all: bool) -> Option<f64> {
    // Verifying takes far longer than the passes: a contract's length is enough.
    let verify = code.len() <= CONTRACT_LEN;
    let program = analyze(code, &PassOptions { compile_all, verify, ..options() }).ok()?;
    Some(size(&program) as f64 / code.len() as f64)
}

/// The worst codes known make as many items for each byte at any length.
#[test]
fn the_worst_codes_known() {
    for hostile in hostile::ALL {
        for compile_all in [false, true] {
            let items = |len| items_per_byte(&(hostile.code)(len), compile_all);
            let (name, short) = (hostile.name, items(CONTRACT_LEN));
            let short = short.expect("a contract's length is never refused");
            assert!(short <= 20.0, "{name}: {short} items a byte");
            if let Some(long) = items(LEN) {
                println!("{name}: {short:.2} and {long:.2} items a byte");
                assert!(long <= 1.3 * short, "{name}: {short} and {long} items a byte");
            }
        }
    }
}

#[test]
fn every_byte_repeated() {
    for byte in 0..=u8::MAX {
        check_linear(&repeated(&[byte], LEN / 16), &format!("{byte:#04x}"));
    }
}

#[test]
fn deep_slots_touched_from_small_blocks() {
    // The deepest SWAPN and DUPN in blocks of their own, and what is swapped back.
    for pattern in [
        &[0x5b, 0xe7, 0x5a][..],
        &[0x5b, 0xe6, 0x5a],
        &[0xe7, 0x5a, 0xe7, 0x59, 0xe8, 0x8e],
        &[0x5f, 0x57, 0xe7, 0x5a],
        &[0x5b, 0xa4, 0xa4, 0xa4, 0xe7, 0x5a],
        &[0x80, 0x80, 0x80, 0xf1],
        &[0x5b, 0x60, 0x00, 0x56],
    ] {
        for len in [LEN / 16, LEN] {
            check_linear(&repeated(pattern, len), &format!("{pattern:02x?}"));
        }
    }
}

#[test]
fn random_bytes() {
    for seed in 0..8 {
        check_linear(&Random::new(seed).bytes(LEN), &format!("seed {seed}"));
    }
}

#[test]
fn long_blocks_have_their_heights_whatever_the_limit() {
    let options = PassOptions { chunk_limit: u32::MAX, ..options() };
    for byte in [0x50, 0x5f, 0xa4, 0x80, 0x3c] {
        let program = analyze(&repeated(&[byte], LEN / 16), &options).expect("few entries");
        let deepest = program.blocks.values().map(|data| data.stack.needed).max();
        let highest = program.blocks.values().map(|data| data.stack.growth).max();
        assert!(deepest > Some(256) || highest > Some(256), "{byte:#04x}");
    }
}

/// What isn't compiled is what comes last, and small codes are compiled whole.
#[test]
fn heavy_code_is_compiled_up_to_a_budget() {
    // Equal blocks would be one, and what is fallen into part of what is before.
    let skip = PassSet::DEDUP.union(PassSet::THREAD_JUMPS);
    let options = PassOptions { compile_all: true, skip, ..options() };
    for (byte, len, whole) in
        [(0x02, LEN, false), (0x51, LEN, false), (0x02, 80, true), (0x16, LEN, true)]
    {
        // A JUMPDEST and nine heavy opcodes.
        let pattern = [&[0x5b][..], &[byte; 9]].concat();
        let program = analyze(&repeated(&pattern, len), &options).expect("few entries");
        let compiled: Vec<bool> = program.blocks.values().map(|data| data.is_compiled()).collect();
        let is_start = compiled.is_sorted_by(|before, after| before >= after);
        assert!(compiled[0] && is_start, "{byte:#04x}, {len} bytes");
        assert_eq!(compiled.iter().all(|&is| is), whole, "{byte:#04x}, {len} bytes");
    }
}

#[test]
fn too_many_entries_are_refused_and_just_enough_are_not() {
    let at_limit = vec![0x5b; MAX_ENTRIES];
    let program = analyze(&at_limit, &options()).expect("as many as can be indexed");
    assert_eq!(program.entries.len() + program.absent_targets().count(), MAX_ENTRIES);
    let above = vec![0x5b; MAX_ENTRIES + 1];
    let error = analyze(&above, &options()).expect_err("one too many");
    assert!(matches!(error, AnalysisError::TooManyEntries { found, .. } if found == above.len()));
}

#[test]
fn code_that_indices_cannot_tell_is_refused() {
    let code = vec![0; MAX_CODE_LEN + 1];
    let error = analyze(&code, &options()).expect_err("one byte too long");
    assert!(matches!(error, AnalysisError::CodeTooLong { found, .. } if found == code.len()));
}
