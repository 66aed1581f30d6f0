//! What the first tier costs: time to put contracts together and load them, bytes of code for each
//! byte of bytecode, of deployed contracts, and of hostile code beside them.
//!
//! The contracts are those of `contracts.jsonl.xz` where the fixtures are, else the shipped ones.

#![deny(unsafe_code)]

use clap::Parser;
use cranevm_cli::{CommandError, Contract, shipped};
use cranevm_codegen::{
    Compiler, CompilerOptions, NativeProgram, OptimizationLevel, code_memory::CodeRegion,
};
use cranevm_tests::{fixtures, hostile::ALL};
use revm::primitives::{Bytes, hardfork::SpecId};
use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

/// Measure what the first tier makes of contracts and of hostile code
#[derive(Debug, Parser)]
struct Arguments {
    /// Compilations of each contract; the quickest counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of the hostile code in KiB
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1024))]
    kib: u32,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let options =
        CompilerOptions { opt_level: OptimizationLevel::None, ..CompilerOptions::default() };
    let failed = |error: &dyn std::fmt::Display| CommandError::Failed(error.to_string());
    let begin = Instant::now();
    let mut compiler = Compiler::new(options).map_err(|error| failed(&error))?;
    println!("compiler made in {:.1?}", begin.elapsed());
    let region = CodeRegion::new(1 << 30).map_err(|error| failed(&error))?;
    let mut all = Vec::new();
    for code in contracts()? {
        all.push(measure(&mut compiler, &region, &code, arguments.rounds).map_err(|e| failed(&e))?);
    }
    let sum = all.iter().fold(Cost::default(), |sum, cost| Cost {
        bytes: sum.bytes + cost.bytes,
        compile: sum.compile + cost.compile,
        load: sum.load + cost.load,
        code: sum.code + cost.code,
        tables: sum.tables + cost.tables,
    });
    println!(
        "code                          bytes   compile      load  us/byte  code/byte  tables/byte"
    );
    print_row(&format!("{} contracts", all.len()), &sum);
    if let Some(large) = all.iter().filter(|cost| cost.bytes > 24_000).max_by_key(|c| c.compile) {
        print_row("slowest of 24 KB", large);
    }
    if let Some(slowest) = all.iter().max_by(|a, b| a.per_byte().total_cmp(&b.per_byte())) {
        print_row("slowest for a byte", slowest);
    }
    for hostile in ALL {
        let code = (hostile.code)(arguments.kib as usize * 1024);
        match measure(&mut compiler, &region, &code, arguments.rounds) {
            Ok(cost) => print_row(hostile.name, &cost),
            Err(error) => println!("{:24} {error}", hostile.name),
        }
    }
    Ok(())
}

fn contracts() -> Result<Vec<Bytes>, CommandError> {
    let Some(path) = fixtures::find("contracts", "contracts.jsonl.xz") else {
        return shipped::names().map(|name| Ok(Contract::resolve(name)?.code)).collect();
    };
    let contracts = fixtures::contracts(&path);
    let contracts = contracts.map_err(|error| CommandError::Failed(error.to_string()))?;
    Ok(contracts.into_iter().map(|contract| contract.bytecode).collect())
}

#[derive(Default)]
struct Cost {
    bytes: usize,
    compile: Duration,
    load: Duration,
    code: usize,
    tables: usize,
}

impl Cost {
    fn per_byte(&self) -> f64 {
        (self.compile + self.load).as_secs_f64() * 1e6 / self.bytes.max(1) as f64
    }
}

fn measure(
    compiler: &mut Compiler,
    region: &Arc<CodeRegion>,
    code: &[u8],
    rounds: u32,
) -> Result<Cost, cranevm_codegen::CompileError> {
    let mut cost = Cost { compile: Duration::MAX, load: Duration::MAX, ..Cost::default() };
    for _ in 0..rounds {
        let begin = Instant::now();
        let compiled = compiler.compile(code, SpecId::OSAKA)?;
        let compile = begin.elapsed();
        let program = NativeProgram::load(&compiled, region)?;
        let load = begin.elapsed() - compile;
        cost = Cost {
            bytes: code.len(),
            compile: cost.compile.min(compile),
            load: cost.load.min(load),
            code: compiled.code_bytes(),
            tables: program.data_bytes(),
        };
    }
    Ok(cost)
}

fn print_row(name: &str, cost: &Cost) {
    let bytes = cost.bytes.max(1) as f64;
    println!(
        "{name:24} {:10} {:>9.1?} {:>9.1?} {:8.4} {:10.1} {:12.1}",
        cost.bytes,
        cost.compile,
        cost.load,
        cost.per_byte(),
        cost.code as f64 / bytes,
        cost.tables as f64 / bytes,
    );
}
