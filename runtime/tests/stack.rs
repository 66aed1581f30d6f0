//! Callers compile on their own threads, whatever stack these have: the compiler's recursion is
//! bounded, as chunks are.

mod common;

use common::request;
use cranevm::{
    OptimizationLevel,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use std::thread;

#[path = "../../tests/src/hostile.rs"]
#[allow(dead_code, unreachable_pub, reason = "of another crate; these tests use a part")]
mod hostile;

/// Bytes of stack of the threads here: an eighth of what Rust's threads have. Half of it is enough,
/// also for code that is six times as long.
const STACK: usize = 256 << 10;

/// Bytes of code: several chunks.
const CODE: usize = 4 << 10;

#[test]
fn callers_compile_on_small_stacks() {
    for jit_opt_level in
        [OptimizationLevel::None, OptimizationLevel::Default, OptimizationLevel::Aggressive]
    {
        let tuning = RuntimeTuning { jit_opt_level, ..Default::default() };
        let config = RuntimeConfig { tuning, ..Default::default() };
        let backend = JitBackend::new(config).unwrap();
        let compile_all = || {
            for hostile in hostile::ALL {
                let request = request(&(hostile.code)(CODE));
                let outcome = backend.compile_jit_sync(request.clone());
                assert!(outcome.is_ok(), "{}: {outcome:?}", hostile.name);
                drop(backend.lookup_blocking(request));
            }
        };
        // An overflow ends the process.
        thread::scope(|scope| {
            let small = thread::Builder::new().stack_size(STACK);
            small.spawn_scoped(scope, compile_all).unwrap().join().unwrap();
        });
    }
}
