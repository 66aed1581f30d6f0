//! One helper process as its backend sees it: started, spoken to within deadlines, ended.
//!
//! Its pipes don't block here, and every wait is a `poll` that also hears the signal to stop. So a
//! helper that neither reads nor writes, or writes a byte a second, costs its deadline and no more.
//! Whatever happens, dropping a [`Process`] kills the helper with its process group, closes the
//! pipes, and takes its exit status, so that no zombie stays.

use super::{
    deadline_in,
    error::{HelperError, WireError},
    limits::Limits,
    protocol::{Hello, MAGIC, SHORT, Setup, decode_ready},
    wire::{LENGTH_BYTES, READ_STEP, announced},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ioctl_fionbio},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use std::{
    ffi::OsString,
    io::{self, PipeReader, Read, Write},
    os::{
        fd::AsFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Bytes that a program may print before it becomes a helper.
const PREAMBLE: usize = 64 << 10;

/// Size asked for the pipe that code comes through, in bytes: the most that a process may have
/// without privileges on Linux.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PIPE_BYTES: usize = 1 << 20;

/// Longest time that the end of a killed process is waited for.
const DYING: Duration = Duration::from_secs(2);

/// Longest time from the end of a helper's pipe to its own, if it ends.
const LAST_STEPS: Duration = Duration::from_millis(100);

/// How helpers are started.
#[derive(Debug)]
pub(super) struct Launch {
    /// `None`: this program.
    pub(super) program: Option<PathBuf>,
    pub(super) limits: Limits,
    pub(super) setup: Setup,
    /// What a helper must be.
    pub(super) hello: Hello,
    /// Longest time until a helper is ready.
    pub(super) timeout: Duration,
}

/// Why a helper is of no more use.
#[derive(Debug)]
pub(super) enum Broken {
    /// Its time was over.
    TimedOut,
    /// The backend stops.
    Stopped,
    /// A pipe ended.
    Ended,
    /// Something else, which an error says.
    Error(HelperError),
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Self::Error(error.into())
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => Self::Ended,
            _ => Self::Error(HelperError::Pipe { problem: error.to_string() }),
        }
    }
}

/// A helper process.
#[derive(Debug)]
pub(super) struct Process {
    /// `None` once it has ended and was reaped.
    child: Option<Child>,
    requests: ChildStdin,
    replies: ChildStdout,
    /// Read from the pipe and not taken yet.
    received: Vec<u8>,
    /// Ends when the backend stops.
    stop: Arc<PipeReader>,
}

impl Launch {
    /// The program's name, for people.
    pub(super) fn program_name(&self) -> String {
        match &self.program {
            Some(path) => path.display().to_string(),
            None => "(this program)".into(),
        }
    }

    /// Starts a helper, and waits until it is ready, but no longer than `until`. With `follows` it
    /// ends with this thread.
    ///
    /// # Errors
    /// [`Broken::Stopped`]; [`Broken::TimedOut`] at `until`; [`Broken::Error`] with
    /// [`HelperError::Start`] or [`HelperError::NotReady`].
    pub(super) fn start(
        &self,
        stop: Arc<PipeReader>,
        follows: bool,
        until: Option<Instant>,
    ) -> Result<Process, Broken> {
        let mut process = self.spawn(stop, follows).map_err(|error| {
            let (program, problem) = (self.program_name(), error.to_string());
            Broken::Error(HelperError::Start { program, problem })
        })?;
        let own = deadline_in(self.timeout);
        let earlier = until.filter(|&until| until < own);
        match process.shake_hands(self, earlier.unwrap_or(own)) {
            Ok(()) => Ok(process),
            Err(Broken::Stopped) => Err(Broken::Stopped),
            Err(Broken::TimedOut) if earlier.is_some() => Err(Broken::TimedOut),
            Err(broken) => {
                let cause = Box::new(process.end(broken, self.timeout));
                let program = self.program_name();
                Err(Broken::Error(HelperError::NotReady { program, cause }))
            }
        }
    }

    fn spawn(&self, stop: Arc<PipeReader>, follows: bool) -> io::Result<Process> {
        let mut command = match &self.program {
            Some(path) => Command::new(path),
            None => own_program()?,
        };
        self.limits.pass_to(&mut command, follows);
        // A group of its own: a terminal's Ctrl-C is for the backend, and what the helper may have
        // started ends with it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the helper has no pipes"));
        };
        let process = Process { child: Some(child), requests, replies, received: Vec::new(), stop };
        ioctl_fionbio(&process.requests, true)?;
        ioctl_fionbio(&process.replies, true)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(&process.replies, PIPE_BYTES) {
            // Code comes in more pieces then.
            tracing::debug!(%error, "the pipe from the helper stays small");
        }
        Ok(process)
    }
}

/// This very program, even if its file was replaced or deleted meanwhile, where the system has a
/// name for that.
fn own_program() -> io::Result<Command> {
    const RUNNING: &str = "/proc/self/exe";
    let mut command = match cfg!(target_os = "linux") && Path::new(RUNNING).exists() {
        true => Command::new(RUNNING),
        false => Command::new(std::env::current_exe()?),
    };
    let name = std::env::args_os().next().unwrap_or_else(|| OsString::from("jit-helper"));
    command.arg0(name);
    Ok(command)
}

impl Process {
    /// Whether it hasn't ended. What it may have said unasked is no matter yet.
    pub(super) fn is_alive(&mut self) -> bool {
        let Some(child) = &mut self.child else { return false };
        match child.try_wait() {
            Ok(None) => true,
            // An error: somebody else took its status.
            Ok(Some(_)) | Err(_) => {
                self.child = None;
                false
            }
        }
    }

    /// Whether the backend has told its helpers to stop since this one was started.
    pub(super) fn is_of(&self, stop: &Arc<PipeReader>) -> bool {
        Arc::ptr_eq(&self.stop, stop)
    }

    /// Sends a request, and waits for the reply's content, of at most `limit` bytes.
    pub(super) fn exchange(
        &mut self,
        request: &[u8],
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<u8>, Broken> {
        if !self.received.is_empty() {
            return Err(WireError::Unasked { extra: self.received.len() }.into());
        }
        self.send(request, deadline)?;
        self.receive(limit, deadline)
    }

    /// Kills it, and says what `broken` it was by.
    pub(super) fn end(&mut self, broken: Broken, limit: Duration) -> HelperError {
        // Else the status tells of the signal that comes now.
        let ends_itself = matches!(broken, Broken::Ended) && self.has_ended_soon();
        let status = self.kill().filter(|_| ends_itself);
        match broken {
            Broken::TimedOut => HelperError::TimedOut { limit },
            Broken::Stopped | Broken::Ended => ended(status),
            Broken::Error(error) => error,
        }
    }

    fn shake_hands(&mut self, launch: &Launch, deadline: Instant) -> Result<(), Broken> {
        self.skip_preamble(deadline)?;
        let hello = Hello::decode(&self.receive(SHORT, deadline)?)?;
        if let Some(mismatch) = mismatch(&launch.hello, &hello) {
            return Err(Broken::Error(mismatch));
        }
        let ready = self.exchange(&launch.setup.encode()?, SHORT, deadline)?;
        match decode_ready(&ready)? {
            None => Ok(()),
            Some(problem) => Err(Broken::Error(HelperError::Refused { problem })),
        }
    }

    /// Drops what comes before [`MAGIC`], and that.
    fn skip_preamble(&mut self, deadline: Instant) -> Result<(), Broken> {
        let mut dropped = 0;
        loop {
            let found = self.received.windows(MAGIC.len()).position(|window| window == MAGIC);
            if let Some(at) = found {
                self.received.drain(..at + MAGIC.len());
                return Ok(());
            }
            // The last bytes may be its beginning.
            let gone = self.received.len().saturating_sub(MAGIC.len() - 1);
            self.received.drain(..gone);
            dropped += gone;
            if dropped > PREAMBLE {
                return Err(WireError::NoGreeting { looked_at: dropped }.into());
            }
            self.read_some(4096, deadline)?;
        }
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Broken> {
        while !bytes.is_empty() {
            match self.requests.write(bytes) {
                Ok(0) => return Err(Broken::Ended),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if is_not_now(&error) => {
                    wait(&self.requests, PollFlags::OUT, &self.stop, deadline)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The content of the next frame.
    fn receive(&mut self, limit: usize, deadline: Instant) -> Result<Vec<u8>, Broken> {
        loop {
            let length = announced(&self.received, limit)?;
            let whole = LENGTH_BYTES + length.unwrap_or(0);
            match whole.checked_sub(self.received.len()) {
                None | Some(0) if length.is_some() => {
                    let rest = self.received.split_off(whole);
                    let mut frame = std::mem::replace(&mut self.received, rest);
                    frame.drain(..LENGTH_BYTES);
                    return Ok(frame);
                }
                missing => self.read_some(missing.unwrap_or(0), deadline)?,
            }
        }
    }

    /// Waits for bytes and reads at most so many, and no more than a step.
    fn read_some(&mut self, most: usize, deadline: Instant) -> Result<(), Broken> {
        let filled = self.received.len();
        self.received.resize(filled + most.min(READ_STEP), 0);
        let read = loop {
            match self.replies.read(&mut self.received[filled..]) {
                Ok(0) => break Err(Broken::Ended),
                Ok(read) => break Ok(read),
                Err(error) if is_not_now(&error) => {
                    if let Err(broken) = wait(&self.replies, PollFlags::IN, &self.stop, deadline) {
                        break Err(broken);
                    }
                }
                Err(error) => break Err(error.into()),
            }
        };
        self.received.truncate(filled + *read.as_ref().unwrap_or(&0));
        // Also where bytes keep coming in: they may be all there is.
        match read {
            Ok(_) if Instant::now() >= deadline => Err(Broken::TimedOut),
            read => read.map(drop),
        }
    }

    /// Whether it ends within [`LAST_STEPS`]. Its status isn't taken.
    fn has_ended_soon(&self) -> bool {
        let Some(child) = &self.child else { return false };
        let id = WaitId::Pid(Pid::from_child(child));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let (start, mut pause) = (Instant::now(), Duration::from_micros(50));
        loop {
            match waitid(id.clone(), options) {
                Ok(Some(_)) => return true,
                Ok(None) | Err(Errno::INTR) if start.elapsed() < LAST_STEPS => thread::sleep(pause),
                // An error: somebody else took it.
                Ok(None) | Err(_) => return false,
            }
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Kills it with its process group, and takes its status, if it has one soon.
    fn kill(&mut self) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        // It isn't reaped, so neither its number nor its group's is another's. Either fails if it
        // has ended, which is as well.
        let _of_group = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _of_itself = child.kill();
        let (start, mut pause) = (Instant::now(), Duration::from_micros(50));
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if start.elapsed() < DYING => thread::sleep(pause),
                Ok(None) => {
                    tracing::warn!(pid = child.id(), "a killed helper doesn't end");
                    return None;
                }
                // Somebody else took it.
                Err(_) => return None,
            }
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a helper ended that wasn't asked to. Programs end by these signals when somebody sends them,
/// not by what they do themselves.
fn ended(status: Option<ExitStatus>) -> HelperError {
    const SENT: [Signal; 4] = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP];
    let signal = status.and_then(|status| status.signal());
    let status = status.map_or_else(|| "status unknown".into(), |status| status.to_string());
    match SENT.iter().any(|sent| signal == Some(sent.as_raw())) {
        true => HelperError::Killed { status },
        false => HelperError::Ended { status },
    }
}

/// What makes another helper than the one that is wanted.
fn mismatch(wanted: &Hello, found: &Hello) -> Option<HelperError> {
    let differ = |what, expected: String, found: String| {
        Some(HelperError::Mismatch { what, expected, found })
    };
    let hex = |hash: &[u8; 32]| alloy_primitives::hex::encode(&hash[..8]);
    if wanted.protocol != found.protocol {
        differ("protocol version", wanted.protocol.to_string(), found.protocol.to_string())
    } else if wanted.build != found.build {
        differ("build", wanted.build.clone(), found.build.clone())
    } else if wanted.abi != found.abi {
        differ("interface of compiled code", hex(&wanted.abi), hex(&found.abi))
    } else {
        None
    }
}

/// Waits until `pipe` can be gone on with.
fn wait(
    pipe: &impl AsFd,
    what: PollFlags,
    stop: &PipeReader,
    deadline: Instant,
) -> Result<(), Broken> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken::TimedOut);
        }
        let mut fds = [PollFd::new(pipe, what), PollFd::new(stop, PollFlags::IN)];
        // Beyond what the clock can tell there is no deadline.
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) if !fds[1].revents().is_empty() => return Err(Broken::Stopped),
            // An end or error of the pipe is found by who reads or writes.
            Ok(_) => return Ok(()),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
