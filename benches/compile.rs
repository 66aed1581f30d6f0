//! How long the compiler takes: each shipped contract at each level, on one thread, with a compiler
//! that keeps its allocations from one contract to the next.

use cranevm_benches::{criterion, workloads};
use cranevm_codegen::{Compiler, CompilerOptions, OptimizationLevel};
use criterion::Throughput;
use std::error::Error;

/// `Less` is the same as `None`.
const LEVELS: [(&str, OptimizationLevel); 3] = [
    ("none", OptimizationLevel::None),
    ("default", OptimizationLevel::Default),
    ("aggressive", OptimizationLevel::Aggressive),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = criterion();
    for (level, opt_level) in LEVELS {
        let options = CompilerOptions { opt_level, ..CompilerOptions::default() };
        let mut compiler = Compiler::new(options)?;
        let mut group = criterion.benchmark_group(format!("compile/{level}"));
        for workload in workloads()? {
            let code = workload.fixture.entry_code();
            let spec = workload.fixture.default_spec();
            // An error here would otherwise be what is measured.
            compiler.compile(&code, spec)?;
            group.throughput(Throughput::Bytes(code.len() as u64));
            group.bench_function(&workload.name, |bencher| {
                bencher.iter(|| compiler.compile(&code, spec));
            });
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
