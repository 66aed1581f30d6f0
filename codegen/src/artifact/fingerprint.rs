//! What code depends on besides its bytecode, as hashes and texts to compare.
//!
//! The ABI hash is over lists that the code itself is made from: the macros that define context
//! offsets, builtins and statuses also describe them, and so can't be changed without it. What
//! no list shows is the [`REVISION`].

use crate::{
    CompilerOptions,
    abi::{RESULTS, STATUSES, layout, offsets},
    builtins::builtin_signatures,
};
use alloy_primitives::{B256, Keccak256, keccak256};
use revm_context_interface::cfg::GasParams;
use revm_interpreter::instructions::gas_table_spec;
use revm_primitives::hardfork::SpecId;
use std::{
    fmt::Write,
    sync::{LazyLock, OnceLock},
};

/// To be raised with each change of what compiled code and its surroundings expect of each other
/// that no signature, offset or status shows: what a register holds at a boundary, say, or what a
/// builtin leaves in the context.
const REVISION: u32 = 2;

/// How code is entered: by `abi` and by the trampoline and chunks that the compiler makes.
const ENTRY: &str = "functions: trampoline, absent stub, chunks; trampoline: extern C (context) -> \
    status; chunk: tail (stack top, gas, entry ordinal) -> status; context in the pinned register; \
    program header 64 bytes before the trampoline";

/// Hash of all that compiled code and its surroundings must agree on.
pub fn abi_hash() -> B256 {
    static HASH: LazyLock<B256> = LazyLock::new(|| keccak256(describe_abi()));
    *HASH
}

fn describe_abi() -> String {
    let mut text = format!("revision {REVISION}\n{ENTRY}\n{}\n", offsets::DESCRIPTION);
    for number in layout::ALL {
        // Writing to a string doesn't fail.
        let _written = writeln!(text, "index {number}");
    }
    for (field, offset) in offsets::INPUTS {
        let _written = writeln!(text, "input {field}@{offset}");
    }
    let _written = writeln!(text, "{STATUSES}");
    for result in RESULTS {
        let _written = writeln!(text, "{result:?}={}", result as u8);
    }
    for (name, signature, ty) in builtin_signatures() {
        let _written = writeln!(text, "{name}: {signature:?} {ty}");
    }
    text
}

/// Hash of a fork's prices, static and dynamic, as revm has them.
pub(super) fn gas_hash(spec_id: SpecId) -> B256 {
    // By fork; more than there are.
    static HASHES: [OnceLock<B256>; 64] = [const { OnceLock::new() }; 64];
    match HASHES.get(spec_id as usize) {
        Some(hash) => *hash.get_or_init(|| compute_gas_hash(spec_id)),
        None => compute_gas_hash(spec_id),
    }
}

fn compute_gas_hash(spec_id: SpecId) -> B256 {
    let mut hasher = Keccak256::new();
    for price in gas_table_spec(spec_id) {
        hasher.update(price.to_le_bytes());
    }
    for price in GasParams::new_spec(spec_id).table() {
        hasher.update(price.to_le_bytes());
    }
    hasher.finalize()
}

/// The options that code depends on, as `name=value` with spaces between.
#[cfg(feature = "cranelift")]
pub(super) fn describe_options(options: &CompilerOptions) -> String {
    use crate::{Chaos, OptimizationLevel, PassSet};
    // Exhaustive, so that no option is forgotten.
    let CompilerOptions {
        opt_level,
        stencils,
        // Applied where code is left: an artifact serves either.
        single_error: _,
        no_dedup: _,
        no_dse: _,
        skip_passes: _,
        // No code depends on it.
        predict_jumps: _,
        debug_assertions,
        // No code depends on it.
        verify: _,
        compile_all,
        work_limit,
        one_block_per_chunk,
        force_hand_over,
        chaos,
        // Told by the code, which serves whoever has no other foreign opcodes that it executes.
        foreign: _,
        // Told by the machine that the code is for.
        emulator: _,
    } = options;
    // The passes left out by whichever option, but the one that no code depends on.
    let skipped = options.skipped_passes();
    let skipped = skipped.iter().filter(|&pass| pass != PassSet::RESOLVE_JUMPS);
    let skipped = skipped.fold(PassSet::NONE, PassSet::union);
    let level = match opt_level {
        OptimizationLevel::None | OptimizationLevel::Less => "stencils",
        OptimizationLevel::Default => "default",
        OptimizationLevel::Aggressive => "aggressive",
    };
    let blocks = force_hand_over.map_or_else(|| "never".to_owned(), |blocks| blocks.to_string());
    let chaos = chaos.map_or_else(
        || "none".to_owned(),
        |Chaos { seed, from, until }| format!("{seed:#x}/{from:#x}..{until:#x}"),
    );
    format!(
        "opt_level={level} stencils={stencils:?} skipped={skipped} \
         debug_assertions={debug_assertions} compile_all={compile_all} \
         work_limit={}+{} one_block_per_chunk={one_block_per_chunk} force_hand_over={blocks} \
         chaos={chaos}",
        work_limit.contract, work_limit.per_byte
    )
}

/// Without a compiler no code is what is wanted.
#[cfg(not(feature = "cranelift"))]
pub(super) fn describe_options(_options: &CompilerOptions) -> String {
    "no compiler".to_owned()
}

/// The first option in which two descriptions differ, in each.
pub(super) fn differing_option<'a>(found: &'a str, expected: &'a str) -> (&'a str, &'a str) {
    let pairs = found.split(' ').zip(expected.split(' '));
    pairs.into_iter().find(|(found, expected)| found != expected).unwrap_or((found, expected))
}
