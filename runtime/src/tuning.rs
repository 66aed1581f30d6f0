//! Tuning knobs: limits, thresholds and intervals.
//!
//! The set of fields is fixed, for clients build the structure with exhaustive literals. Values
//! that can't be meant are clamped, as each field says.

use crate::OptimizationLevel;
use std::{num::NonZero, thread, time::Duration};

/// Most threads that compile in the background.
const MAX_WORKERS: usize = 256;

/// Shortest interval of housekeeping.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Limits, thresholds and intervals of a [`JitBackend`](crate::runtime::JitBackend).
#[derive(Clone, Copy, Debug)]
pub struct RuntimeTuning {
    /// Requests of [`compile_jit`](crate::runtime::JitBackend::compile_jit) that may wait for a
    /// worker, and, counted apart, events that may wait for
    /// [`on_compilation`](crate::runtime::RuntimeConfig::on_compilation). What comes beyond that is
    /// dropped and counted.
    ///
    /// Default: 4096. 0 is taken as 1.
    pub channel_capacity: usize,
    /// Events that `on_compilation` hears at one go, before the housekeeping thread looks at its
    /// other work.
    ///
    /// Default: 4096. 0 is taken as 1.
    pub max_events_per_drain: usize,
    /// Time between two turns of the housekeeping thread: how late it may notice that a program
    /// leaves out code that runs, and how old exported metrics may be. With more than a thousand
    /// programs, turns are rarer in proportion.
    ///
    /// Default: 100 ms; at least 1 ms. As a bound on the time between a lookup and its being
    /// counted as heat it is always met, for that is counted at once.
    pub event_drain_interval: Duration,
    /// Longest time that dropping the last handle waits for threads. One that hasn't ended by then
    /// is left alone, and ends later.
    ///
    /// Default: 5 s. Workers end after the chunk they are at, so mostly this is some milliseconds.
    pub shutdown_timeout: Duration,
    /// Misses after which code is compiled in the background: frames begun through
    /// [`JitEvm`](crate::revm_evm::JitEvm), and
    /// [`lookup`](crate::runtime::JitBackend::lookup)s. 0 and 1 both mean the first miss. Half a
    /// million gas burnt in the interpreter has the same effect, whatever the number of frames. At
    /// which level, that is decided by what it saves: a contract that [`JitEvm`](crate::revm_evm::JitEvm)s
    /// were seen to run is put together from stencils, and compiled at
    /// [`jit_opt_level`](Self::jit_opt_level) when it has burnt 20,000 gas for each of its bytes.
    ///
    /// Default: 8; in blocking mode it has no meaning, for each miss compiles. Values beyond 32
    /// bits are taken as the largest of those.
    pub jit_hot_threshold: usize,
    /// Longest bytecode, in bytes, that is compiled. 0 means no limit.
    ///
    /// Default: 24 KiB (24,576), the limit of deployed code by EIP-170.
    pub jit_max_bytecode_len: usize,
    /// Contracts that may be waiting or under way in the background. Upgrades of programs that run
    /// already aren't counted: there is at most one for each.
    ///
    /// Default: 2048. 0 is taken as 1.
    pub jit_max_pending_jobs: usize,
    /// Threads that compile in the background, with stacks of 16 MiB. With 0 nothing is compiled in
    /// the background, and requests for it are dropped and counted.
    ///
    /// Default: half the processors, rounded up, at least 1 and at most 4. At most 256.
    pub jit_worker_count: usize,
    /// Longest time that a compilation in a helper process may take. When it is over, the helper is
    /// killed, and the code interpreted until a `clear_*`. A helper that has to be started first
    /// has as long again to become ready.
    ///
    /// Default: 5 s; at least 1 ms. Without effect in process, where work is bounded by the length
    /// of the bytecode.
    pub jit_timeout: Duration,
    /// Address space, in bytes, that a helper process may use. 0 means no limit.
    ///
    /// Default: 0. `REVMC_JIT_HELPER_MEMORY_LIMIT_BYTES` overrides it. The helper sets it itself
    /// (`RLIMIT_AS`), before it is sent anything; one that it doesn't fit into isn't used. Without
    /// effect in process.
    pub jit_helper_memory_limit_bytes: u64,
    /// Processors that a helper process may run on: the first so many of those that this process
    /// may. 0 means all.
    ///
    /// Default: 0. `REVMC_JIT_HELPER_CPU_COUNT` overrides it. Without effect in process, and
    /// elsewhere than on Linux and Android.
    pub jit_helper_cpu_count: usize,
    /// Contracts that may wait because they are called often, for each worker; all workers share
    /// one queue of this times [`jit_worker_count`](Self::jit_worker_count). What comes beyond that
    /// is counted as dropped, and counts its calls anew.
    ///
    /// Default: 64. 0 is taken as 1.
    pub jit_worker_queue_capacity: usize,
    /// How much work goes into the code of compiled contracts. In the background a contract is
    /// compiled at [`OptimizationLevel::None`] first, and at this level when it runs.
    ///
    /// Default: [`OptimizationLevel::Default`].
    pub jit_opt_level: OptimizationLevel,
    /// How much work goes into the code of artifacts. Those of different levels are different
    /// artifacts, also of one contract.
    ///
    /// Default: [`OptimizationLevel::Default`].
    pub aot_opt_level: OptimizationLevel,
    /// Bytes of code and tables that resident programs may take together. 0 means no limit. Beyond
    /// it, those that are used least of late are evicted. Where it is taken up, a contract that
    /// gets hot is compiled, or loaded from the store, only if it is used more than what would be
    /// evicted for it; what was asked for by name, or by a blocking lookup, always is. Evicted
    /// programs that somebody still runs or holds aren't counted here, but in the statistics.
    ///
    /// A program that alone is larger isn't kept. A blocking lookup has it all the same, each time
    /// newly compiled; in the background its contract has failed until the next clear.
    ///
    /// Default: 1 GiB. Address space for code is reserved when first enabled or compiling: twice
    /// this value, but no less than 64 MiB and no more than 8 GiB; without a limit 8 GiB. That
    /// bounds the code of all programs, held ones too; where it is exhausted, resident programs
    /// make room.
    pub resident_code_cache_bytes: usize,
    /// Time without use after which a program is evicted. `None` means never. Use and idleness are
    /// noticed at sweeps, so it may take up to two of their intervals longer.
    ///
    /// Default: 600 s.
    pub idle_evict_duration: Option<Duration>,
    /// Time between two searches for idle programs.
    ///
    /// Default: 60 s; at least 1 ms. Without effect if
    /// [`idle_evict_duration`](Self::idle_evict_duration) is `None`.
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
        for interval in [
            &mut self.event_drain_interval,
            &mut self.eviction_sweep_interval,
            &mut self.jit_timeout,
        ] {
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
