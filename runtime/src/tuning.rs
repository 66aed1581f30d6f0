//! Tuning knobs: limits, thresholds and intervals.
//!
//! The set of fields is fixed, for clients build the structure with exhaustive literals. Knobs of
//! machinery that isn't in this version (background compilation, eviction, artifacts, the helper
//! process) are accepted and have no effect; their documentation says so.

use crate::OptimizationLevel;
use std::{num::NonZero, thread, time::Duration};

/// Most threads that compile in the background.
const MAX_WORKERS: usize = 256;

/// Shortest interval of housekeeping.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Limits, thresholds and intervals of a [`JitBackend`](crate::runtime::JitBackend).
#[derive(Clone, Copy, Debug)]
pub struct RuntimeTuning {
    /// Commands that may be queued for background work.
    ///
    /// Default: 4096. Without effect in this version: there is no background work.
    pub channel_capacity: usize,
    /// Lookup observations handled at one go by background work.
    ///
    /// Default: 4096. Without effect in this version.
    pub max_events_per_drain: usize,
    /// Longest time between a lookup and its being counted as heat.
    ///
    /// Default: 100 ms. Without effect in this version: heat isn't counted.
    pub event_drain_interval: Duration,
    /// Longest time that dropping the last handle waits for background work.
    ///
    /// Default: 5 s. An upper bound that always holds in this version: dropping waits for nothing.
    pub shutdown_timeout: Duration,
    /// Misses after which code is compiled in the background. 0 and 1 both mean the first miss.
    ///
    /// Default: 8; 0 in blocking mode. Without effect in this version outside blocking mode, which
    /// compiles at the first miss.
    pub jit_hot_threshold: usize,
    /// Longest bytecode, in bytes, that is compiled. 0 means no limit.
    ///
    /// Default: 24 KiB (24,576), the limit of deployed code by EIP-170.
    pub jit_max_bytecode_len: usize,
    /// Compilations that may be queued or running in the background.
    ///
    /// Default: 2048. Without effect in this version.
    pub jit_max_pending_jobs: usize,
    /// Threads that compile in the background.
    ///
    /// Default: half the processors, rounded up, at least 1 and at most 4. Without effect in this
    /// version: code is compiled on the thread that asks for it.
    pub jit_worker_count: usize,
    /// Longest time that a compilation in a helper process may take.
    ///
    /// Default: 5 s. Without effect in this version: there is no helper process.
    pub jit_timeout: Duration,
    /// Address space, in bytes, that a helper process may use. 0 means no limit.
    ///
    /// Default: 0. `REVMC_JIT_HELPER_MEMORY_LIMIT_BYTES` overrides it. Without effect in this
    /// version.
    pub jit_helper_memory_limit_bytes: u64,
    /// Processors that a helper process may run on. 0 means all.
    ///
    /// Default: 0. `REVMC_JIT_HELPER_CPU_COUNT` overrides it. Without effect in this version.
    pub jit_helper_cpu_count: usize,
    /// Jobs that may wait for each background worker.
    ///
    /// Default: 64. Without effect in this version.
    pub jit_worker_queue_capacity: usize,
    /// How much work goes into the code of compiled contracts.
    ///
    /// Default: [`OptimizationLevel::Default`].
    pub jit_opt_level: OptimizationLevel,
    /// How much work goes into the code of artifacts.
    ///
    /// Default: [`OptimizationLevel::Default`]. Without effect in this version: there are no
    /// artifacts.
    pub aot_opt_level: OptimizationLevel,
    /// Sizes the address space reserved for machine code, in bytes: twice this value, but no less
    /// than 64 MiB and no more than 8 GiB; 0 reserves 8 GiB. Reserved at the first compilation.
    ///
    /// Default: 1 GiB. The reservation is a hard limit on machine code in whole pages; the
    /// programs' tables are on the heap and not counted. In this version nothing is evicted: when
    /// the reservation is full, further contracts are interpreted until programs are freed, which a
    /// `clear_*` leads to.
    pub resident_code_cache_bytes: usize,
    /// Time without use after which a program is evicted. `None` means never.
    ///
    /// Default: 600 s. Without effect in this version: nothing is evicted.
    pub idle_evict_duration: Option<Duration>,
    /// Time between two searches for idle programs.
    ///
    /// Default: 60 s. Without effect in this version.
    pub eviction_sweep_interval: Duration,
    /// Compilations after which a compiler is dropped and built anew, to give back the memory that
    /// its reusable buffers have grown to. 0 means never.
    ///
    /// Default: 1000.
    pub compiler_recycle_threshold: usize,
}

impl RuntimeTuning {
    /// Whether `bytecode` may be compiled: it isn't empty, nor longer than
    /// [`jit_max_bytecode_len`](Self::jit_max_bytecode_len).
    #[inline]
    pub fn should_compile(&self, bytecode: &[u8]) -> bool {
        let limit = match self.jit_max_bytecode_len {
            0 => usize::MAX,
            limit => limit,
        };
        !bytecode.is_empty() && bytecode.len() <= limit
    }

    /// Brings values that can't be meant into their range, as the fields' documentation says.
    pub(crate) fn normalized(mut self) -> Self {
        for capacity in [
            &mut self.channel_capacity,
            &mut self.max_events_per_drain,
            &mut self.jit_max_pending_jobs,
            &mut self.jit_worker_queue_capacity,
        ] {
            *capacity = (*capacity).max(1);
        }
        self.jit_worker_count = self.jit_worker_count.min(MAX_WORKERS);
        for interval in [&mut self.event_drain_interval, &mut self.eviction_sweep_interval] {
            *interval = (*interval).max(MIN_INTERVAL);
        }
        self
    }
}

impl Default for RuntimeTuning {
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            channel_capacity: 4096,
            max_events_per_drain: 4096,
            event_drain_interval: Duration::from_millis(100),
            shutdown_timeout: Duration::from_secs(5),
            jit_hot_threshold: 8,
            jit_max_bytecode_len: 24 * 1024,
            jit_max_pending_jobs: 2048,
            jit_worker_count: processors.div_ceil(2).clamp(1, 4),
            jit_timeout: Duration::from_secs(5),
            jit_helper_memory_limit_bytes: 0,
            jit_helper_cpu_count: 0,
            jit_worker_queue_capacity: 64,
            jit_opt_level: OptimizationLevel::default(),
            aot_opt_level: OptimizationLevel::default(),
            resident_code_cache_bytes: 1 << 30,
            idle_evict_duration: Some(Duration::from_secs(600)),
            eviction_sweep_interval: Duration::from_secs(60),
            compiler_recycle_threshold: 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        // Exhaustive on purpose: a field more or less breaks clients, and this pattern first.
        let RuntimeTuning {
            channel_capacity,
            max_events_per_drain,
            event_drain_interval,
            shutdown_timeout,
            jit_hot_threshold,
            jit_max_bytecode_len,
            jit_max_pending_jobs,
            jit_worker_count,
            jit_timeout,
            jit_helper_memory_limit_bytes,
            jit_helper_cpu_count,
            jit_worker_queue_capacity,
            jit_opt_level,
            aot_opt_level,
            resident_code_cache_bytes,
            idle_evict_duration,
            eviction_sweep_interval,
            compiler_recycle_threshold,
        } = RuntimeTuning::default();
        assert_eq!(channel_capacity, 4096);
        assert_eq!(max_events_per_drain, 4096);
        assert_eq!(event_drain_interval, Duration::from_millis(100));
        assert_eq!(shutdown_timeout, Duration::from_secs(5));
        assert_eq!(jit_hot_threshold, 8);
        assert_eq!(jit_max_bytecode_len, 24_576);
        assert_eq!(jit_max_pending_jobs, 2048);
        assert!((1..=4).contains(&jit_worker_count));
        assert_eq!(jit_timeout, Duration::from_secs(5));
        assert_eq!(jit_helper_memory_limit_bytes, 0);
        assert_eq!(jit_helper_cpu_count, 0);
        assert_eq!(jit_worker_queue_capacity, 64);
        assert_eq!(jit_opt_level, OptimizationLevel::Default);
        assert_eq!(aot_opt_level, OptimizationLevel::Default);
        assert_eq!(resident_code_cache_bytes, 1_073_741_824);
        assert_eq!(idle_evict_duration, Some(Duration::from_secs(600)));
        assert_eq!(eviction_sweep_interval, Duration::from_secs(60));
        assert_eq!(compiler_recycle_threshold, 1000);
    }

    #[test]
    fn should_compile_by_length() {
        let tuning = RuntimeTuning { jit_max_bytecode_len: 3, ..Default::default() };
        assert!(!tuning.should_compile(&[]));
        assert!(tuning.should_compile(&[0; 3]));
        assert!(!tuning.should_compile(&[0; 4]));
        let unlimited = RuntimeTuning { jit_max_bytecode_len: 0, ..tuning };
        assert!(!unlimited.should_compile(&[]));
        assert!(unlimited.should_compile(&[0; 100_000]));
    }
}
