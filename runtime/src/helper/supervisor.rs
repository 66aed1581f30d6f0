//! The helper processes of a backend: started when needed, lent, replaced, ended.
//!
//! There are never more than workers, plus [`MAX_FOR_CALLERS`] for threads that compile by
//! themselves. A helper that crashes, hangs, or talks nonsense is killed, and its job is over; the
//! next job gets another helper. After several such failures on end, jobs fail at once for a while,
//! and their code stays interpreted (`backoff`).
//!
//! Locks are held for some loads and stores, and to ask the system whether idle helpers live; never
//! while a helper is started, spoken to or ended.

use super::{
    Client, HelperError, WireError, Work,
    backoff::Backoff,
    deadline_in,
    limits::Limits,
    places::Places,
    process::{Broken, Launch, Process},
    protocol::{Fault, Hello, MAX_BYTECODE, Reply, Request, Setup, Task, VERSION, max_reply},
};
use crate::{
    config::{JitMode, RuntimeConfig},
    error::CompileFailure,
    ledger::Ledger,
    locks::lock,
};
use cranevm_codegen::{
    CompiledCode, Compiler,
    artifact::{self, Expected},
};
use std::{
    io::{PipeReader, PipeWriter, pipe},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Most helpers that serve threads which wait for what they compile.
const MAX_FOR_CALLERS: usize = 4;

/// Longest message of a helper that is kept, in bytes.
const MAX_MESSAGE: usize = 1024;

/// The helper processes of a backend.
pub(crate) struct Helpers {
    launch: Launch,
    idle: Mutex<Vec<Process>>,
    health: Mutex<Health>,
    callers: Places,
    stop: Mutex<StopSignal>,
    ledger: Arc<Ledger>,
    next_id: AtomicU64,
    /// Whether the log tells that helpers can't be started.
    told: AtomicBool,
}

#[derive(Debug, Default)]
struct Health {
    backoff: Backoff,
    /// Helpers that ended and weren't replaced yet.
    lost: u64,
}

/// Tells helpers, and who waits for one, that it is over.
#[derive(Debug, Default)]
struct StopSignal {
    /// The backend's threads get no helper any more.
    stopped: bool,
    /// Readers hear it when the writer is dropped.
    current: Option<(Arc<PipeReader>, PipeWriter)>,
}

impl Helpers {
    /// Helpers as configured, if code is to be compiled in some; none is started yet.
    pub(crate) fn new(config: &RuntimeConfig, ledger: &Arc<Ledger>) -> Option<Self> {
        if config.jit_mode == JitMode::InProcess {
            return None;
        }
        let tuning = &config.tuning;
        let limits = Limits {
            memory_bytes: tuning.jit_helper_memory_limit_bytes,
            processors: tuning.jit_helper_cpu_count,
        };
        let setup = Setup {
            recycle_threshold: tuning.compiler_recycle_threshold as u64,
            dump_dir: config.dump_dir.clone(),
        };
        let launch = Launch {
            program: config.jit_helper_path.clone(),
            limits,
            setup,
            hello: hello(),
            timeout: tuning.jit_timeout,
        };
        Some(Self {
            launch,
            idle: Mutex::default(),
            health: Mutex::default(),
            callers: Places::new(tuning.jit_worker_count.clamp(1, MAX_FOR_CALLERS)),
            stop: Mutex::default(),
            ledger: Arc::clone(ledger),
            next_id: AtomicU64::new(1),
            told: AtomicBool::new(false),
        })
    }

    /// Compiles a whole contract in a helper.
    ///
    /// # Errors
    /// [`CompileFailure::Abandoned`] if the backend stops, [`CompileFailure::TimedOut`] if the
    /// caller's own time is over; [`CompileFailure::Helper`] and [`CompileFailure::Panic`].
    pub(crate) fn compile(
        &self,
        work: &Work<'_>,
        client: Client,
    ) -> Result<CompiledCode, CompileFailure> {
        self.ask(Task::Compile, work, client, |reply| match reply {
            Reply::Compiled { timings, artifact, .. } => {
                let mut compiled = verified(artifact, work)?;
                compiled.timings = timings;
                Ok(compiled)
            }
            _ => Err(WireError::BadValue { field: "reply" }.into()),
        })
    }

    /// Lets a helper write the files of a dump.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub(crate) fn dump(&self, work: &Work<'_>, client: Client) -> Result<(), CompileFailure> {
        self.ask(Task::Dump, work, client, |reply| match reply {
            Reply::Dumped { .. } => Ok(()),
            _ => Err(WireError::BadValue { field: "reply" }.into()),
        })
    }

    /// Whether a job would fail because helpers failed lately.
    pub(crate) fn is_resting(&self) -> bool {
        let rests = lock(&self.health).backoff.rest(Instant::now()).is_some();
        rests && lock(&self.idle).is_empty()
    }

    /// Whether there are helpers to be [tended](Self::tend).
    pub(crate) fn has_idle(&self) -> bool {
        !lock(&self.idle).is_empty()
    }

    /// Lets go of helpers that ended while they were idle.
    pub(crate) fn tend(&self) {
        let mut idle = lock(&self.idle);
        let before = idle.len();
        idle.retain_mut(Process::is_alive);
        let ended = before - idle.len();
        drop(idle);
        (0..ended).for_each(|_| self.lose_idle());
    }

    /// Kills all helpers. Jobs under way end; further ones of the backend's own threads fail.
    pub(crate) fn stop(&self) {
        {
            let mut stop = lock(&self.stop);
            stop.stopped = true;
            stop.current = None;
        }
        let idle = std::mem::take(&mut *lock(&self.idle));
        drop(idle);
    }

    /// Has a helper do something, and takes its reply. An error of `take` is a helper's that can't
    /// be trusted any more.
    fn ask<T>(
        &self,
        task: Task,
        work: &Work<'_>,
        client: Client,
        take: impl FnOnce(Reply<'_>) -> Result<T, HelperError>,
    ) -> Result<T, CompileFailure> {
        let Work { key, options, code } = *work;
        if code.len() > MAX_BYTECODE {
            return Err(HelperError::TooLong { length: code.len(), limit: MAX_BYTECODE }.into());
        }
        let id = self.next_id.fetch_add(1, Relaxed);
        let request =
            Request { id, task, key, options, code }.encode().map_err(HelperError::from)?;
        let _place = match client {
            Client::Worker => None,
            Client::Caller(until) => {
                Some(self.callers.enter(until).ok_or(CompileFailure::TimedOut)?)
            }
        };
        let mut process = self.borrow(client)?;
        let limit = self.launch.timeout;
        let deadline = deadline_in(limit);
        let until = match client {
            Client::Worker => deadline,
            Client::Caller(until) => until.min(deadline),
        };
        let content = match process.exchange(&request, max_reply(code.len()), until) {
            Ok(content) => content,
            // The caller's time, not the helper's.
            Err(Broken::TimedOut) if until < deadline => {
                lock(&self.health).lost += 1;
                return Err(CompileFailure::TimedOut);
            }
            Err(broken) => return Err(self.lose(process, broken)),
        };
        let taken = match Reply::decode(&content, id) {
            Ok(Reply::Failed { fault, message, .. }) => Ok(Err(failure(fault, message))),
            Ok(reply) => take(reply).map(Ok),
            Err(error) => Err(error.into()),
        };
        match taken {
            Ok(result) => {
                self.give_back(process);
                result
            }
            Err(error) => Err(self.lose(process, Broken::Error(error))),
        }
    }

    /// An idle helper, or a new one.
    fn borrow(&self, client: Client) -> Result<Process, CompileFailure> {
        let stop = self.stop_signal(client)?;
        loop {
            let idle = lock(&self.idle).pop();
            let Some(mut process) = idle else { return self.start(stop, client) };
            if !process.is_of(&stop) {
                // Told to stop with the others, before this thread came.
                continue;
            }
            if process.is_alive() {
                return Ok(process);
            }
            self.lose_idle();
        }
    }

    fn start(&self, stop: Arc<PipeReader>, client: Client) -> Result<Process, CompileFailure> {
        {
            let backoff = &lock(&self.health).backoff;
            if let Some(rest) = backoff.rest(Instant::now()) {
                return Err(HelperError::BackingOff { failures: backoff.failures(), rest }.into());
            }
        }
        // Only a thread that lives on may be one whose end ends the helper.
        let (follows, until) = match client {
            Client::Worker => (true, None),
            Client::Caller(until) => (false, Some(until)),
        };
        let counters = &self.ledger.counters;
        match self.launch.start(stop, follows, until) {
            Ok(process) => {
                counters.jit_helper_spawns.bump();
                let mut health = lock(&self.health);
                if health.lost > 0 {
                    health.lost -= 1;
                    counters.jit_helper_restarts.bump();
                }
                drop(health);
                self.told.store(false, Relaxed);
                Ok(process)
            }
            Err(Broken::Error(error)) => {
                counters.jit_helper_spawn_failures.bump();
                lock(&self.health).backoff.fail(Instant::now());
                if !self.told.swap(true, Relaxed) {
                    tracing::error!(%error, "no helper to compile in; code is interpreted until \
                        one can be started; further failures of this kind are only counted");
                }
                Err(error.into())
            }
            Err(Broken::TimedOut) => Err(CompileFailure::TimedOut),
            Err(Broken::Stopped | Broken::Ended) => Err(CompileFailure::Abandoned),
        }
    }

    /// Keeps a helper that did its work for the next who needs one.
    fn give_back(&self, process: Process) {
        lock(&self.health).backoff.succeed();
        let mut idle = lock(&self.idle);
        let current = lock(&self.stop).current.as_ref().map(|(reader, _)| Arc::clone(reader));
        // `stop` changes the signal before it empties `idle`, so none stays behind here.
        if current.is_some_and(|current| process.is_of(&current)) {
            idle.push(process);
        } else {
            drop(idle);
            drop(process);
        }
    }

    /// Ends a helper that failed a job, and tells why it did.
    fn lose(&self, mut process: Process, broken: Broken) -> CompileFailure {
        let counters = &self.ledger.counters;
        match &broken {
            Broken::Stopped => {
                process.end(broken, Duration::ZERO);
                return CompileFailure::Abandoned;
            }
            Broken::TimedOut => counters.jit_helper_timeouts.bump(),
            Broken::Ended | Broken::Error(_) => counters.jit_helper_disconnects.bump(),
        }
        self.note_loss();
        process.end(broken, self.launch.timeout).into()
    }

    /// Accounts for a helper that ended while it was idle.
    fn lose_idle(&self) {
        self.ledger.counters.jit_helper_disconnects.bump();
        self.note_loss();
    }

    fn note_loss(&self) {
        let mut health = lock(&self.health);
        health.lost += 1;
        health.backoff.fail(Instant::now());
    }

    /// What a helper of this client is to listen to.
    fn stop_signal(&self, client: Client) -> Result<Arc<PipeReader>, CompileFailure> {
        let mut stop = lock(&self.stop);
        if stop.stopped && matches!(client, Client::Worker) {
            return Err(CompileFailure::Abandoned);
        }
        if let Some((reader, _)) = &stop.current {
            return Ok(Arc::clone(reader));
        }
        let (reader, writer) = pipe().map_err(|error| {
            let program = self.launch.program_name();
            HelperError::Start { program, problem: error.to_string() }
        })?;
        let reader = Arc::new(reader);
        stop.current = Some((Arc::clone(&reader), writer));
        Ok(reader)
    }
}

/// What this crate says of itself, as backend and as helper.
pub(super) fn hello() -> Hello {
    Hello {
        protocol: VERSION,
        abi: artifact::abi_hash().0,
        build: format!("{}, Cranelift {}", artifact::compiler_name(), Compiler::CRANELIFT),
    }
}

/// Verifies what a helper made of `work`.
fn verified(bytes: &[u8], work: &Work<'_>) -> Result<CompiledCode, HelperError> {
    let expected = Expected {
        code_hash: work.key.code_hash,
        code_len: Some(work.code.len()),
        spec_id: work.key.spec_id,
        options: &work.options,
        cranelift: Some(Compiler::CRANELIFT),
        artifact_hash: None,
    };
    artifact::decode(bytes, &expected).map_err(HelperError::Artifact)
}

fn failure(fault: Fault, mut message: String) -> CompileFailure {
    // It is logged, and may be remembered for long.
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    match fault {
        Fault::Compiler => HelperError::Compiler { message }.into(),
        Fault::Panic => CompileFailure::Panic { message },
        Fault::Files => HelperError::Dump { message }.into(),
    }
}
