//! What heads check and charge, and for which blocks, is found right for any bytes, as it is
//! planned for each chunk before that is translated.

use cranevm_passes::analysis::{head_plans::HeadPlans, regions::Regions};
use cranevm_passes::ir::program::Program;
use cranevm_passes::ir::verify::{verify_bounds, verify_charges};
use cranevm_passes::{AnalysisError, PassOptions, PassSet, ThreadLimits, analyze};
use programs::Random;
use revm_primitives::hardfork::SpecId;

#[expect(unreachable_pub, reason = "public for the crate that it is a module of")]
#[path = "../../tests/src/hostile.rs"]
mod hostile;
mod programs;

/// Verifies the plans of all chunks. Returns how many blocks aren't leaders, so that their heads
/// check less than they would alone.
fn verify_plans(program: &Program, what: &str) -> usize {
    let mut inside = 0;
    for chunk in program.chunks.keys() {
        let regions = Regions::find(program, chunk);
        let plans = HeadPlans::of(program, chunk, &regions);
        let found = verify_charges(program, chunk, &plans)
            .and_then(|()| verify_bounds(program, chunk, &regions, &plans));
        assert_eq!(found, Ok(()), "{what}\n{program}");
        let has_bounds =
            |&&index: &&u32| plans.plan(index as usize).is_some_and(|plan| plan.bounds.is_some());
        inside += regions.order.len() - regions.order.iter().filter(has_bounds).count();
    }
    inside
}

#[test]
fn random_programs() {
    let mut inside = 0;
    for seed in 0..600u64 {
        let mut random = Random::new(seed);
        let len = 16 + random.below(600);
        let code = if seed % 8 == 0 { random.bytes(len) } else { random.instructions(len) };
        let skip = [PassSet::NONE, PassSet::THREAD_JUMPS, PassSet::DEDUP][seed as usize % 3];
        let options = PassOptions {
            spec_id: SpecId::AMSTERDAM,
            chunk_limit: [20, 100, 500][random.below(3)],
            one_block_per_chunk: random.below(16) == 0,
            compile_all: random.below(2) == 0,
            thread_limits: ThreadLimits::default(),
            skip,
            ..PassOptions::default()
        };
        let program = analyze(&code, &options).expect("short code");
        inside += verify_plans(&program, &format!("seed {seed}"));
    }
    assert!(inside > 200, "{inside} blocks without a check of their own");
}

#[test]
fn hostile_programs() {
    for hostile in hostile::ALL {
        for compile_all in [false, true] {
            let spec_id = SpecId::AMSTERDAM;
            let options = PassOptions { spec_id, compile_all, ..PassOptions::default() };
            match analyze(&(hostile.code)(24 * 1024), &options) {
                Ok(program) => {
                    verify_plans(&program, hostile.name);
                }
                Err(AnalysisError::TooManyEntries { .. }) => {}
                Err(error) => panic!("{}: {error}", hostile.name),
            }
        }
    }
}
