//! The runtime's configuration for tests and measurements: every contract compiled at its first
//! call, by the thread that calls it, but for what is unlikely to run.

use super::{Engine, EngineError};
use cranevm::{
    OptimizationLevel,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};

/// A backend for `engine`, which isn't the interpreter.
///
/// Halt reasons are exact (`single_error` is off), and code of any length is compiled.
pub(super) fn backend(engine: Engine, opt: OptimizationLevel) -> Result<JitBackend, EngineError> {
    let config = RuntimeConfig {
        enabled: true,
        blocking: true,
        single_error: false,
        tuning: RuntimeTuning {
            jit_opt_level: opt,
            jit_max_bytecode_len: 0,
            // The users drop what they no longer need (`EngineRunner::trim`).
            resident_code_cache_bytes: 0,
            idle_evict_duration: None,
            ..RuntimeTuning::default()
        },
        ..RuntimeConfig::default()
    };
    let backend = match engine {
        Engine::Interpreter | Engine::Native => {
            JitBackend::with_compiler_options(config, |options| options.compile_all = false)
        }
        Engine::OneBlockPerChunk => {
            JitBackend::with_compiler_options(config, |options| options.one_block_per_chunk = true)
        }
        Engine::HandOver(blocks) => JitBackend::with_compiler_options(config, |options| {
            options.force_hand_over = Some(blocks);
        }),
    };
    backend.map_err(|error| EngineError { engine, reason: format!("{error:#}") })
}
