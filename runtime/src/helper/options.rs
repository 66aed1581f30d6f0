//! The compiler's options as fields of a request.

use super::{
    error::WireError,
    wire::{FrameReader, FrameWriter},
};
use crate::{OptimizationLevel, PassSet, WorkLimit};
use cranevm_codegen::{Chaos, CompilerOptions, OpcodeSet, Stencils};

/// Appends all options.
pub(super) fn write(frame: FrameWriter, options: &CompilerOptions) -> FrameWriter {
    // Exhaustive, so that no option is forgotten.
    let CompilerOptions {
        opt_level,
        stencils,
        single_error,
        no_dedup,
        no_dse,
        skip_passes,
        predict_jumps,
        debug_assertions,
        verify,
        compile_all,
        work_limit: WorkLimit { contract, per_byte },
        one_block_per_chunk,
        force_hand_over,
        chaos,
        foreign,
        // Runs in the process that it is given to.
        emulator: _,
    } = *options;
    let passes = match skip_passes {
        PassSet::NONE => String::new(),
        passes => passes.to_string(),
    };
    let (way, seed) = match stencils {
        Stencils::ByLength => (0, 0),
        Stencils::Copied => (1, 0),
        Stencils::Called => (2, 0),
        Stencils::Sampled(seed) => (3, seed),
    };
    let Chaos { seed: chaos_seed, from, until } = chaos.unwrap_or(Chaos::new(0));
    frame
        .u8(opt_level as u8)
        .u8(way)
        .u32(seed)
        .bool(single_error)
        .bool(no_dedup)
        .bool(no_dse)
        .bytes(passes.as_bytes())
        .bool(predict_jumps)
        .bool(debug_assertions)
        .bool(verify)
        .bool(compile_all)
        .u32(contract)
        .u32(per_byte)
        .bool(one_block_per_chunk)
        .bool(force_hand_over.is_some())
        .u32(force_hand_over.unwrap_or_default())
        .bool(chaos.is_some())
        .u64(chaos_seed)
        .u64(from)
        .u64(until)
        .array(&foreign.to_be_bytes::<32>())
}

/// Reads what [`write`] has written.
pub(super) fn read(fields: &mut FrameReader<'_>) -> Result<CompilerOptions, WireError> {
    let level = fields.u8("opt_level")?;
    let levels = [
        OptimizationLevel::None,
        OptimizationLevel::Less,
        OptimizationLevel::Default,
        OptimizationLevel::Aggressive,
    ];
    let opt_level = levels.into_iter().find(|&known| known as u8 == level);
    Ok(CompilerOptions {
        opt_level: opt_level.ok_or(WireError::BadValue { field: "opt_level" })?,
        stencils: {
            let (way, seed) = (fields.u8("stencils")?, fields.u32("stencils")?);
            match way {
                0 => Stencils::ByLength,
                1 => Stencils::Copied,
                2 => Stencils::Called,
                3 => Stencils::Sampled(seed),
                _ => return Err(WireError::BadValue { field: "stencils" }),
            }
        },
        single_error: fields.bool("single_error")?,
        no_dedup: fields.bool("no_dedup")?,
        no_dse: fields.bool("no_dse")?,
        skip_passes: read_passes(fields.text("skip_passes")?)?,
        predict_jumps: fields.bool("predict_jumps")?,
        debug_assertions: fields.bool("debug_assertions")?,
        verify: fields.bool("verify")?,
        compile_all: fields.bool("compile_all")?,
        work_limit: WorkLimit {
            contract: fields.u32("work_limit")?,
            per_byte: fields.u32("work_limit")?,
        },
        one_block_per_chunk: fields.bool("one_block_per_chunk")?,
        force_hand_over: {
            let is_set = fields.bool("force_hand_over")?;
            let blocks = fields.u32("force_hand_over")?;
            is_set.then_some(blocks)
        },
        chaos: {
            let is_set = fields.bool("chaos")?;
            let seed = fields.u64("chaos")?;
            let (from, until) = (fields.u64("chaos")?, fields.u64("chaos")?);
            is_set.then_some(Chaos { seed, from, until })
        },
        foreign: OpcodeSet::from_be_bytes(fields.array::<32>("foreign")?),
        emulator: None,
    })
}

fn read_passes(names: &str) -> Result<PassSet, WireError> {
    let named = |name| PassSet::from_name(name).ok_or(WireError::BadValue { field: "skip_passes" });
    let mut names = names.split(',').filter(|name| !name.is_empty());
    names.try_fold(PassSet::NONE, |passes, name| Ok(passes.union(named(name)?)))
}
