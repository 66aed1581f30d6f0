//! From the first sight of a contract to the end of its first transaction.
//!
//! Each iteration has a backend that knows no contract. `ready` is the time until the entry
//! contract can be entered natively: analysis, compilation, and loading. `assembled` is the same, by stencils.
//! `first_*` is the whole first transaction, with the compilation of every contract that it calls, beside the
//! interpreter's time for it.
//!
//! `at_the_budget/N` is the time of compiling a small contract, and making its program resident,
//! where N others take up the budget, so that one must go; `before_the_budget` where none must.

use alloy_primitives::{Bytes, keccak256};
use cranevm::{
    OptimizationLevel, SpecId,
    runtime::{JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig, RuntimeTuning},
};
use cranevm_benches::{Workload, criterion, workloads};
use cranevm_cli::{Engine, EngineRunner, engine::EngineError};
use cranevm_codegen::{Compiler, CompilerOptions, NativeProgram, code_memory::CodeRegion};
use criterion::{BatchSize, BenchmarkGroup, Criterion, measurement::WallTime};
use revm::bytecode::opcode::{MSTORE, PUSH0, PUSH4, STOP};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = criterion();
    for workload in workloads()? {
        let mut group = criterion.benchmark_group(format!("startup/{}", workload.name));
        ready(&mut group, &workload)?;
        assembled(&mut group, &workload)?;
        first(&mut group, "first_interpreter", &workload, || Ok(EngineRunner::interpreter()))?;
        first(&mut group, "first_native_none", &workload, || {
            EngineRunner::new(Engine::Native, OptimizationLevel::None)
        })?;
        first(&mut group, "first_native_default", &workload, || {
            EngineRunner::new(Engine::Native, OptimizationLevel::Default)
        })?;
        group.finish();
    }
    publications(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// The entry contract at the baseline level, in a backend of its own.
fn ready(
    group: &mut BenchmarkGroup<'_, WallTime>,
    workload: &Workload,
) -> Result<(), Box<dyn Error>> {
    let code = workload.fixture.entry_code();
    let key =
        RuntimeCacheKey { code_hash: keccak256(&code), spec_id: workload.fixture.default_spec() };
    let new_backend = || {
        JitBackend::new(RuntimeConfig {
            tuning: RuntimeTuning {
                jit_opt_level: OptimizationLevel::None,
                ..RuntimeTuning::default()
            },
            ..RuntimeConfig::default()
        })
    };
    new_backend()?.compile_jit_sync(LookupRequest { key, code: code.clone() })?;
    group.bench_function("ready", |bencher| {
        bencher.iter_batched(
            || (new_backend(), LookupRequest { key, code: code.clone() }),
            |(backend, request)| {
                let compiled =
                    backend.as_ref().map(|backend| backend.compile_jit_sync(request).is_ok());
                (compiled.is_ok_and(|compiled| compiled), backend)
            },
            BatchSize::PerIteration,
        );
    });
    Ok(())
}

/// The entry contract put together from stencils, and loaded.
fn assembled(
    group: &mut BenchmarkGroup<'_, WallTime>,
    workload: &Workload,
) -> Result<(), Box<dyn Error>> {
    let (code, spec_id) = (workload.fixture.entry_code(), workload.fixture.default_spec());
    let options =
        CompilerOptions { opt_level: OptimizationLevel::None, ..CompilerOptions::default() };
    let region = CodeRegion::new(1 << 30)?;
    let mut compiler = Compiler::new(options)?;
    let mut start = || {
        let code = compiler.compile(&code, spec_id)?;
        NativeProgram::load(&code, &region)
    };
    start()?;
    group.bench_function("assembled", |bencher| bencher.iter(&mut start));
    Ok(())
}

/// The first transaction on an engine that has compiled nothing.
fn first(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    workload: &Workload,
    engine: impl Fn() -> Result<EngineRunner, EngineError>,
) -> Result<(), Box<dyn Error>> {
    let start = || {
        let runner = engine()?;
        let session = runner.session(&workload.environment, workload.database());
        Ok::<_, EngineError>((runner, session))
    };
    let (runner, mut session) = start()?;
    let succeeds = session.run()?.result.is_success() && runner.compilations().failed == 0;
    if !succeeds {
        return Err(format!("{}, {name}: the transaction doesn't succeed", workload.name).into());
    }
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            start,
            |started| {
                // What is dropped is returned, for freeing isn't part of starting. `start` has
                // just succeeded with the same arguments.
                started.map(|(runner, mut session)| (session.run().is_ok(), session, runner))
            },
            BatchSize::PerIteration,
        );
    });
    Ok(())
}

/// Publications of small programs, with room and without.
fn publications(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let mut group = criterion.benchmark_group("startup");
    let (unlimited, mut made) = (small_backend(0)?, 0);
    // Several share a page.
    const SAMPLE: usize = 512;
    while made < SAMPLE {
        compile_next(&unlimited, &mut made)?;
    }
    let bytes = unlimited.stats().jit_total_bytes() as usize / SAMPLE;
    group.bench_function("before_the_budget", |bencher| {
        bencher.iter(|| compile_next(&unlimited, &mut made).is_ok());
    });
    drop(unlimited);
    for residents in [1_000, 10_000, 100_000] {
        let (backend, mut made) = (small_backend(residents * bytes)?, 0);
        while made < residents {
            compile_next(&backend, &mut made)?;
        }
        group.bench_function(format!("at_the_budget/{residents}"), |bencher| {
            bencher.iter(|| compile_next(&backend, &mut made).is_ok());
        });
        let stats = backend.stats();
        let is_full = stats.evictions > 0 && stats.resident_entries as usize > residents * 9 / 10;
        if !is_full || stats.compilations_failed > 0 {
            return Err(format!("{residents} programs don't take up the budget: {stats:?}").into());
        }
    }
    Ok(())
}

/// A backend with so much room, which compiles quickly.
fn small_backend(resident_code_cache_bytes: usize) -> Result<JitBackend, Box<dyn Error>> {
    let tuning = RuntimeTuning {
        resident_code_cache_bytes,
        jit_opt_level: OptimizationLevel::None,
        ..RuntimeTuning::default()
    };
    Ok(JitBackend::new(RuntimeConfig { tuning, ..RuntimeConfig::default() })?)
}

/// Compiles a contract that stores a number of its own. All take as much code.
fn compile_next(backend: &JitBackend, made: &mut usize) -> Result<(), Box<dyn Error>> {
    let [.., a, b, c, d] = ((1 << 30) + *made).to_be_bytes();
    let code = Bytes::from(vec![PUSH4, a, b, c, d, PUSH0, MSTORE, STOP]);
    let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    *made += 1;
    Ok(backend.compile_jit_sync(LookupRequest { key, code })?)
}
