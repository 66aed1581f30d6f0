//! Helper processes: what they do, and what becomes of a backend whose helpers do wrong.
//!
//! This program is its own helper, and several bad ones (`fake`), so it has a `main` of its own and
//! runs its tests one after the other: each looks at all children and descriptors of the process.
//! Arguments are substrings of the tests to run, as of any test program.

#[path = "../common/mod.rs"]
mod common;
mod fake;
mod faults;
mod keys;
mod lifetime;
mod service;
#[path = "../weaknesses/helper.rs"]
mod weaknesses;
mod world;

use cranevm::runtime::maybe_run_jit_helper;
use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

type Test = (&'static str, fn());

/// The names of functions, and these.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::Test] = &[$((stringify!($name), $name)),*];
    };
}

fn main() -> ExitCode {
    if let Some(mode) = std::env::var_os(fake::MODE) {
        return fake::run(&mode.to_string_lossy());
    }
    if std::env::var_os("REVMC_JIT_HELPER").is_some() {
        // A backend is to bear with what a program says before it becomes a helper.
        println!("welcome to this program\n{}", "=".repeat(5000));
        print!("without an end: ");
        let _flushed = std::io::stdout().flush();
    }
    match maybe_run_jit_helper() {
        Ok(flow) if flow.is_break() => return ExitCode::SUCCESS,
        Ok(_) => {}
        Err(error) => {
            eprintln!("helper: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    if let Some(role) = std::env::var_os(lifetime::ROLE) {
        lifetime::play(&role.to_string_lossy());
        return ExitCode::SUCCESS;
    }
    run_tests()
}

fn run_tests() -> ExitCode {
    if !cfg!(target_os = "linux") {
        println!("these tests look at /proc, and there is none");
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<_> = arguments.iter().filter(|arg| !arg.starts_with('-')).collect();
    let suites = [service::TESTS, keys::TESTS, faults::TESTS, lifetime::TESTS, weaknesses::TESTS];
    let all = suites.into_iter().flatten();
    let chosen = all.filter(|(name, _)| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    });
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, test) in chosen {
        let start = std::time::Instant::now();
        // A test that failed leaves nothing behind that the next one uses.
        let ended = catch_unwind(AssertUnwindSafe(|| world::leaving_nothing(*test)));
        let verdict = if ended.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} ({} ms)", start.elapsed().as_millis());
        match ended {
            Ok(()) => passed += 1,
            Err(_) => failed.push(name),
        }
    }
    println!("\ntest result: {passed} passed; {} failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
