//! Whole transactions on warm caches: revm's interpreter beside native code. The state is as before
//! at the start of each.

use cranevm::OptimizationLevel;
use cranevm_benches::{Workload, criterion, workloads};
use cranevm_cli::{Engine, EngineRunner};
use criterion::{BenchmarkGroup, measurement::WallTime};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = criterion();
    let engines = [
        ("interpreter", EngineRunner::interpreter()),
        ("native_none", EngineRunner::new(Engine::Native, OptimizationLevel::None)?),
        ("native_default", EngineRunner::new(Engine::Native, OptimizationLevel::Default)?),
    ];
    for workload in workloads()? {
        let mut group = criterion.benchmark_group(format!("execute/{}", workload.name));
        for (name, runner) in &engines {
            measure(&mut group, name, runner, &workload)?;
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    runner: &EngineRunner,
    workload: &Workload,
) -> Result<(), Box<dyn Error>> {
    let mut session = runner.session(&workload.environment, workload.database());
    // Compiles, and makes sure that what is measured is a success.
    let outcome = session.run()?;
    if !outcome.result.is_success() {
        return Err(format!("{}, {name}: {:?}", workload.name, outcome.result).into());
    }
    if runner.compilations().failed > 0 {
        return Err(format!("{}, {name}: a contract wasn't compiled", workload.name).into());
    }
    group.bench_function(name, |bencher| bencher.iter(|| session.run()));
    Ok(())
}
