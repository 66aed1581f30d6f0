//! Statistics through the `metrics` crate.

#![cfg(feature = "metrics")]

mod common;

use common::{LONG, SPEC, TARGET, call, database, eventually, evm, numbered};
use cranevm::{
    revm_evm::JitEvm,
    runtime::{JitBackend, JitMode, RuntimeConfig, RuntimeTuning},
};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use revm::{ExecuteEvm, bytecode::opcode::STOP};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The last value of each metric, by name and class or reason; of histograms, how many values there
/// were.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<String, f64>>>);

struct Line(Book, String);

impl Book {
    fn line(&self, key: &Key) -> Arc<Line> {
        assert!(key.labels().any(|label| label.key() == "backend" && label.value() == "metered"));
        let mut name = key.name().to_owned();
        for label in key.labels().filter(|label| matches!(label.key(), "class" | "reason")) {
            name = format!("{name} {}", label.value());
        }
        Arc::new(Line(self.clone(), name))
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.0.lock().unwrap().get(name).copied()
    }
}

impl Line {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut book = self.0.0.lock().unwrap();
        let value = book.entry(self.1.clone()).or_default();
        *value = change(*value);
    }
}

impl CounterFn for Line {
    fn increment(&self, by: u64) {
        self.change(|value| value + by as f64);
    }
    fn absolute(&self, to: u64) {
        self.change(|_| to as f64);
    }
}

impl GaugeFn for Line {
    fn increment(&self, by: f64) {
        self.change(|value| value + by);
    }
    fn decrement(&self, by: f64) {
        self.change(|value| value - by);
    }
    fn set(&self, to: f64) {
        self.change(|_| to);
    }
}

impl HistogramFn for Line {
    fn record(&self, _: f64) {
        self.change(|count| count + 1.0);
    }
}

impl Recorder for Book {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.line(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.line(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.line(key))
    }
}

#[test]
fn statistics_are_exported() {
    let book = Book::default();
    assert!(metrics::set_global_recorder(book.clone()).is_ok());
    let tuning =
        RuntimeTuning { event_drain_interval: Duration::from_millis(2), ..Default::default() };
    let thread_name = "metered".to_owned();
    let config = RuntimeConfig { enabled: true, thread_name, tuning, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    backend.compile_jit(numbered(1));
    backend.lookup(numbered(2));
    assert!(backend.wait_idle(LONG));
    let is = |name: &str, value: f64| eventually(name, || book.get(name) == Some(value));
    is("cranevm_compilations_succeeded_total", 1.0);
    is("cranevm_upgrades_succeeded_total", 1.0);
    is("cranevm_upgrades_failed_total", 0.0);
    is("cranevm_compilations_failed_total", 0.0);
    is("cranevm_lookup_misses_total", 1.0);
    is("cranevm_artifacts_loaded_total", 0.0);
    is("cranevm_artifacts_refused_total", 0.0);
    is("cranevm_resident_entries", 1.0);
    is("cranevm_pending_jobs", 0.0);
    is("cranevm_jit_code_bytes", backend.stats().jit_code_bytes as f64);
    let mut jit = JitEvm::new(evm(database(&[(TARGET, &[STOP])]), SPEC), backend.clone());
    jit.transact(call()).unwrap();
    is("cranevm_frames_total cold", 1.0);
    is("cranevm_frames_total optimised", 0.0);
    is("cranevm_frame_gas_total cold", 0.0);
    is("cranevm_hand_overs_total absent_code", 0.0);
    is("cranevm_entered_on_stack_total", 0.0);
    is("cranevm_lookup_misses_total", 2.0);
    drop(jit);
    is("cranevm_compile_seconds", 2.0);
    is("cranevm_compile_codegen_seconds", 2.0);
    // Of helpers, in a backend of its own, for counters begin with it.
    drop(backend);
    let config = RuntimeConfig {
        jit_mode: JitMode::OutOfProcess,
        jit_helper_path: Some("/no/such/helper".into()),
        thread_name: "metered".to_owned(),
        tuning,
        ..Default::default()
    };
    let backend = JitBackend::new(config).unwrap();
    assert!(backend.compile_jit_sync(numbered(1)).is_err());
    backend.pause();
    is("cranevm_jit_helper_spawn_failures_total", 1.0);
    is("cranevm_jit_helper_pause_requests_total", 1.0);
    for name in ["spawns", "restarts", "timeouts", "disconnects", "resume_requests"] {
        is(&format!("cranevm_jit_helper_{name}_total"), 0.0);
    }
}
