//! The backend's statistics through the `metrics` crate (feature `metrics`).
//!
//! Counters and gauges are set from a snapshot at each turn of the housekeeping thread, so counting
//! itself costs no more than without the feature. Compile times are recorded one by one. All bear
//! the label `backend`, the configured thread name, so that backends can be told apart.

use crate::{
    config::CompilationEvent,
    frame_stats::{FrameStats, RunStats},
    panics::panic_message,
    stats::RuntimeStatsSnapshot,
};
use metrics::{Unit, counter, describe_counter, describe_histogram, gauge, histogram};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// Calls the client's recorder, and contains its panics.
pub(crate) fn guarded(record: impl FnOnce()) {
    // Unwind safety: the recorder is lent plain data alone.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(record)) {
        tracing::error!(message = panic_message(&*panic), "the metrics recorder panicked");
    }
}

/// Tells the recorder what the names mean.
pub(crate) fn describe() {
    let seconds = |name, text| describe_histogram!(name, Unit::Seconds, text);
    seconds("cranevm_compile_seconds", "Wall-clock time of a compilation or upgrade, by success");
    seconds("cranevm_compile_parse_seconds", "Time in the analysis of the bytecode");
    seconds("cranevm_compile_translate_seconds", "Time in the building of Cranelift's IR");
    seconds("cranevm_compile_optimize_seconds", "Time in Cranelift's passes on its IR");
    seconds("cranevm_compile_codegen_seconds", "Time in lowering, register allocation, emission");
    let count = |name, text| describe_counter!(name, Unit::Count, text);
    count("cranevm_lookup_hits_total", "Lookups that found a program, those of frames included");
    count("cranevm_lookup_misses_total", "Lookups of eligible code that found no program");
    count(FRAMES, "Frames, by the engine that began them and why (label class)");
    count(GAS, "Gas burnt by frames, by the engine that did and why (label class)");
    count(HAND_OVERS, "Frames that have a program left to the interpreter, by reason");
    count("cranevm_entered_on_stack_total", "Interpreted frames that went on natively meanwhile");
}

const FRAMES: &str = "cranevm_frames_total";
const GAS: &str = "cranevm_frame_gas_total";
const HAND_OVERS: &str = "cranevm_hand_overs_total";

/// Exports what frames did: `class` is a level, or why a frame was interpreted.
fn export_frames(backend: &str, frames: &FrameStats) {
    let native = [("optimised", frames.optimised), ("baseline", frames.baseline)];
    for (class, RunStats { frames, gas }) in
        native.into_iter().chain(frames.interpreted.by_reason())
    {
        let backend = || backend.to_owned();
        counter!(FRAMES, "backend" => backend(), "class" => class).absolute(frames);
        counter!(GAS, "backend" => backend(), "class" => class).absolute(gas);
    }
    for (reason, times) in frames.hand_overs.by_reason() {
        counter!(HAND_OVERS, "backend" => backend.to_owned(), "reason" => reason).absolute(times);
    }
    counter!("cranevm_entered_on_stack_total", "backend" => backend.to_owned())
        .absolute(frames.entered_on_stack);
}

/// Exports a snapshot.
pub(crate) fn export(backend: &str, stats: &RuntimeStatsSnapshot) {
    let counters = [
        ("cranevm_lookup_hits_total", stats.lookup_hits),
        ("cranevm_lookup_misses_total", stats.lookup_misses),
        ("cranevm_events_dropped_total", stats.events_dropped),
        ("cranevm_commands_dropped_total", stats.commands_dropped),
        ("cranevm_evictions_total", stats.evictions),
        ("cranevm_admissions_refused_total", stats.admissions_refused),
        ("cranevm_faults_total", stats.faults),
        ("cranevm_compilations_dispatched_total", stats.compilations_dispatched),
        ("cranevm_compilations_succeeded_total", stats.compilations_succeeded),
        ("cranevm_compilations_failed_total", stats.compilations_failed),
        ("cranevm_upgrades_dispatched_total", stats.upgrades_dispatched),
        ("cranevm_upgrades_succeeded_total", stats.upgrades_succeeded),
        ("cranevm_upgrades_failed_total", stats.upgrades_failed),
        ("cranevm_first_tier_dispatched_total", stats.first_tier.dispatched),
        ("cranevm_first_tier_succeeded_total", stats.first_tier.succeeded),
        ("cranevm_first_tier_failed_total", stats.first_tier.failed),
        ("cranevm_first_tier_put_off_total", stats.first_tier.put_off),
        ("cranevm_first_tier_nanoseconds_total", stats.first_tier.nanoseconds),
        ("cranevm_artifacts_loaded_total", stats.artifacts_loaded),
        ("cranevm_artifacts_stored_total", stats.artifacts_stored),
        ("cranevm_artifacts_refused_total", stats.artifact_refusals.total()),
        ("cranevm_artifact_store_errors_total", stats.artifact_store_errors),
        ("cranevm_jit_helper_spawns_total", stats.jit_helper_spawns),
        ("cranevm_jit_helper_spawn_failures_total", stats.jit_helper_spawn_failures),
        ("cranevm_jit_helper_restarts_total", stats.jit_helper_restarts),
        ("cranevm_jit_helper_timeouts_total", stats.jit_helper_timeouts),
        ("cranevm_jit_helper_disconnects_total", stats.jit_helper_disconnects),
        ("cranevm_jit_helper_pause_requests_total", stats.jit_helper_pause_requests),
        ("cranevm_jit_helper_resume_requests_total", stats.jit_helper_resume_requests),
    ];
    for (name, value) in counters {
        counter!(name, "backend" => backend.to_owned()).absolute(value);
    }
    export_frames(backend, &stats.frames);
    let gauges = [
        ("cranevm_resident_entries", stats.resident_entries),
        ("cranevm_first_tier_resident", stats.first_tier.resident),
        ("cranevm_pending_jobs", stats.pending_jobs),
        ("cranevm_events_queued", stats.events_queued),
        ("cranevm_command_queue_len", stats.command_queue_len),
        ("cranevm_jit_code_bytes", stats.jit_code_bytes),
        ("cranevm_jit_data_bytes", stats.jit_data_bytes),
    ];
    for (name, value) in gauges {
        gauge!(name, "backend" => backend.to_owned()).set(value as f64);
    }
}

/// Records a compilation.
pub(crate) fn compiled(backend: &str, event: &CompilationEvent) {
    let success = if event.success { "true" } else { "false" };
    histogram!("cranevm_compile_seconds", "backend" => backend.to_owned(), "success" => success)
        .record(event.duration);
    if !event.success {
        return;
    }
    let phase = |name: &'static str, time: Duration| {
        histogram!(name, "backend" => backend.to_owned()).record(time);
    };
    phase("cranevm_compile_parse_seconds", event.timings.parse);
    phase("cranevm_compile_translate_seconds", event.timings.translate);
    phase("cranevm_compile_optimize_seconds", event.timings.optimize);
    phase("cranevm_compile_codegen_seconds", event.timings.codegen);
}
