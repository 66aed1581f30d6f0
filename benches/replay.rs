//! The blocks that come with the program, as `cranevm replay` executes them: revm's interpreter
//! beside native code, in processor time of the thread. The state is as before at the start of
//! each, and copying it isn't timed.

use cranevm::OptimizationLevel;
use cranevm_benches::criterion;
use cranevm_cli::replay::{
    ExecuteError, Loader, NativeEngine, Policy, ReplayBlock, Subject, differences, synthetic_blocks,
};
use criterion::Criterion;
use std::{error::Error, path::Path, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = criterion();
    let levels = [OptimizationLevel::None, OptimizationLevel::Default];
    for (name, file) in synthetic_blocks()? {
        let block = Loader::default().block(Path::new(name), name, &file)?;
        measure(&mut criterion, "interpreter", Subject::Interpreter, &block)?;
        for opt_level in levels {
            let engine = NativeEngine { policy: Policy::Blocking, opt_level };
            let backend = engine.start()?;
            measure(&mut criterion, &engine.to_string(), Subject::Native(&backend), &block)?;
        }
    }
    criterion.final_summary();
    Ok(())
}

fn measure(
    criterion: &mut Criterion,
    engine: &str,
    subject: Subject<'_>,
    block: &ReplayBlock,
) -> Result<(), Box<dyn Error>> {
    let expected = Subject::Interpreter.run(block, &mut || ())?;
    // Compiles, and makes sure that what is measured is right.
    let lines = differences(&expected, &subject.run(block, &mut || ())?);
    if let Some(line) = lines.first() {
        return Err(format!("{}, {engine}: {line}", block.name).into());
    }
    let time = |times: u64| -> Result<Duration, ExecuteError> {
        let runs = (0..times).map(|_| subject.run(block, &mut || ()).map(|executed| executed.time));
        runs.sum()
    };
    let mut failed = None;
    criterion.bench_function(&format!("replay/{}/{engine}", block.name), |bencher| {
        bencher.iter_custom(|times| {
            time(times).unwrap_or_else(|error| {
                failed = Some(error);
                Duration::from_nanos(times.max(1))
            })
        });
    });
    failed.map_or(Ok(()), |error| Err(error.into()))
}
