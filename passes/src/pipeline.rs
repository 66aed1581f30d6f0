//! The passes, in the order they run: the only place that says so.

use crate::analysis::{
    control_flow::{ControlFlow, find_blocks},
    resolve_jumps::resolve_jumps,
};
use crate::chunks::cut_chunks;
use crate::decode::{Decoded, decode};
use crate::ir::opcode::OpcodeSet;
use crate::ir::program::{Program, Span};
use crate::ir::verify::{Source, Stage, verify, verify_meaning, verify_source};
use crate::sections::{gas::sum_gas, stack::bound_stack};
use crate::timing::PassTimes;
use crate::transform::{dedup::dedup, lift_stack::lift_stack, thread_jumps::thread_jumps};
use crate::{AnalysisError, MAX_CODE_LEN, PassOptions, PassSet, ThreadLimits};

/// A pass, and the timer of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// Bytes to instructions.
    Decode,
    /// Instructions to blocks.
    FindBlocks,
    /// Jumps of internal calls followed, and what is unlikely to run.
    ThreadJumps,
    /// Stack slots to values; instructions are simplified, and dropped when unused, on the way.
    LiftStack,
    /// Stack bounds of blocks.
    BoundStack,
    /// Static gas of blocks.
    SumGas,
    /// Identical blocks to one.
    Dedup,
    /// Likely targets of computed jumps.
    ResolveJumps,
    /// Blocks to units of compilation.
    CutChunks,
}

impl Pass {
    /// All passes, in the order they run.
    pub const ALL: [Self; 9] = [
        Self::Decode,
        Self::FindBlocks,
        Self::ThreadJumps,
        Self::LiftStack,
        Self::BoundStack,
        Self::SumGas,
        Self::Dedup,
        Self::ResolveJumps,
        Self::CutChunks,
    ];

    /// The pass's name, in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::FindBlocks => "find-blocks",
            Self::ThreadJumps => "thread-jumps",
            Self::LiftStack => "lift-stack",
            Self::BoundStack => "bound-stack",
            Self::SumGas => "sum-gas",
            Self::Dedup => "dedup",
            Self::ResolveJumps => "resolve-jumps",
            Self::CutChunks => "cut-chunks",
        }
    }
}

/// Runs all passes on `code`.
pub(crate) fn run(
    code: &[u8],
    options: &PassOptions,
) -> Result<(Program, PassTimes), AnalysisError> {
    if code.len() > MAX_CODE_LEN {
        return Err(AnalysisError::CodeTooLong { found: code.len(), limit: MAX_CODE_LEN });
    }
    let PassOptions { spec_id, chunk_limit, compile_all, skip, foreign, .. } = *options;
    let mut times = PassTimes::default();

    let decoded = times.time(Pass::Decode, || decode(code, spec_id, foreign));
    let flow =
        times.time(Pass::FindBlocks, || find_blocks(&decoded, code.len() as u32, chunk_limit));
    let limits = if skip.contains(PassSet::THREAD_JUMPS) {
        ThreadLimits::NONE
    } else {
        options.thread_limits
    };
    let threaded =
        times.time(Pass::ThreadJumps, || thread_jumps(code, &decoded, flow, limits, compile_all));
    let flow = &threaded.flow;
    let mut program =
        times.time(Pass::LiftStack, || lift_stack(code, spec_id, &decoded, flow, skip));
    let source = options.verify.then(|| source(code, &decoded, flow, foreign));
    let check = |program: &Program, stage| match &source {
        Some(source) => verify(program, stage).and_then(|()| verify_source(program, source, stage)),
        None => Ok(()),
    };
    check(&program, Stage::Lifted)?;
    times.time(Pass::BoundStack, || bound_stack(&mut program, &decoded, flow));
    check(&program, Stage::StackBounded)?;
    times.time(Pass::SumGas, || sum_gas(&mut program, &decoded, flow));
    check(&program, Stage::GasSummed)?;
    if !skip.contains(PassSet::DEDUP) {
        let cold = &threaded.cold;
        times.time(Pass::Dedup, || dedup(&mut program, &decoded, flow, cold));
        check(&program, Stage::GasSummed)?;
    }
    if !skip.contains(PassSet::RESOLVE_JUMPS) {
        times.time(Pass::ResolveJumps, || {
            let likely = resolve_jumps(&program, flow, &decoded.jumpdests);
            program.set_likely_targets(likely.spans, likely.pool);
        });
        check(&program, Stage::GasSummed)?;
    }
    times.time(Pass::CutChunks, || cut_chunks(&mut program, &threaded, options))?;
    check(&program, Stage::Complete)?;
    if let Some(source) = &source {
        verify_meaning(&program, source)?;
    }
    Ok((program, times))
}

/// The bytecode as the verifier reads it.
fn source<'a>(
    code: &'a [u8],
    decoded: &Decoded,
    flow: &ControlFlow,
    foreign: OpcodeSet,
) -> Source<'a> {
    let pc_of = |index: u32| {
        let instruction = decoded.instructions.get(index as usize);
        instruction.map_or(code.len() as u32, |instruction| instruction.pc)
    };
    let run = |span: &Span| Span { start: pc_of(span.start), end: pc_of(span.end) };
    let segments = flow.blocks.values().map(|shape| {
        let segments = &flow.segments[shape.segments.start as usize..shape.segments.end as usize];
        segments.iter().map(run).collect()
    });
    let constants = flow.blocks.values().map(|shape| flow.constants(shape).to_vec());
    Source { code, segments: segments.collect(), constants: constants.collect(), foreign }
}
