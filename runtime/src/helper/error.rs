//! What goes wrong with helper processes, typed.

use cranevm_codegen::artifact::ArtifactError;
use std::time::Duration;

/// Why a helper process didn't give a program.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HelperError {
    /// The program of the helper couldn't be executed.
    #[error(
        "the helper {program} can't be started: {problem}; set jit_helper_path to a program that \
         calls maybe_run_jit_helper first in its main, or leave it out to use this program"
    )]
    Start {
        /// The program's path.
        program: String,
        /// What the system said.
        problem: String,
    },
    /// The program was started, and didn't become ready to compile.
    #[error("the helper {program} didn't become ready: {cause}")]
    NotReady {
        /// The program's path.
        program: String,
        /// Why.
        #[source]
        cause: Box<HelperError>,
    },
    /// The program is a helper of another version: what it makes can't be run here.
    #[error("its {what} is {found}, and here {expected}; use a helper of this build")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// The backend's.
        expected: String,
        /// The helper's.
        found: String,
    },
    /// The helper couldn't do what it was configured to.
    #[error("it refused its settings: {problem}")]
    Refused {
        /// What the helper said.
        problem: String,
    },
    /// Helpers ended or failed to start several times on end: the next is started later.
    #[error("helpers failed {failures} times on end; the next is started in {rest:?}")]
    BackingOff {
        /// Failures without a success in between.
        failures: u32,
        /// Time to wait, as of this error.
        rest: Duration,
    },
    /// The helper took longer than `jit_timeout`, and was killed.
    #[error("it took longer than {limit:?}, and was killed")]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The helper ended by itself: it crashed, or exited.
    #[error("it ended before it answered: {status}")]
    Ended {
        /// Its exit status, or that it is unknown.
        status: String,
    },
    /// Somebody killed the helper: the system for want of memory, say, or an operator. That isn't
    /// held against the code the first time.
    #[error("it was killed before it answered: {status}")]
    Killed {
        /// Its exit status.
        status: String,
    },
    /// The helper said what isn't understood, and was killed.
    #[error("it broke the protocol, and was killed: {0}")]
    Protocol(#[from] WireError),
    /// A pipe to the helper failed, and it was killed.
    #[error("the pipe to it failed, and it was killed: {problem}")]
    Pipe {
        /// What the system said.
        problem: String,
    },
    /// The helper's code isn't what was asked for, and the helper was killed.
    #[error("its code was refused, and it was killed: {0}")]
    Artifact(#[source] ArtifactError),
    /// The bytecode is longer than any that a helper is sent. The compiler takes less.
    #[error("{length} bytes of bytecode, more than the {limit} that a helper is sent")]
    TooLong {
        /// Bytes of bytecode.
        length: usize,
        /// Bytes that are sent at most.
        limit: usize,
    },
    /// The compiler in the helper refused the code.
    #[error("{message}")]
    Compiler {
        /// What it said.
        message: String,
    },
    /// The helper couldn't write the files of a dump.
    #[error("no dump: {message}")]
    Dump {
        /// What it said.
        message: String,
    },
}

impl HelperError {
    /// Whether it may well not be the code's doing.
    pub(crate) const fn is_excusable(&self) -> bool {
        matches!(self, Self::Killed { .. })
    }

    /// Whether it tells nothing of the code that was to be compiled: the same may succeed later.
    pub(crate) fn is_circumstantial(&self) -> bool {
        matches!(self, Self::Start { .. } | Self::NotReady { .. } | Self::BackingOff { .. })
    }
}

/// Why bytes aren't what was to be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A frame is longer than anything the other side has to say.
    #[error("a message of {length} bytes, of at most {limit}")]
    TooLong {
        /// Bytes announced.
        length: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A message ends within a field.
    #[error("a message ends too early, in the field {field}")]
    Truncated {
        /// The field.
        field: &'static str,
    },
    /// A message goes on after its last field.
    #[error("a message has {extra} bytes too many")]
    Trailing {
        /// Bytes left over.
        extra: usize,
    },
    /// A field has a value without meaning.
    #[error("the field {field} of a message has no meaning")]
    BadValue {
        /// The field.
        field: &'static str,
    },
    /// A message that isn't expected at this point.
    #[error("a message of kind {kind} where {expected} was expected")]
    Unexpected {
        /// The kind's number.
        kind: u8,
        /// What was expected.
        expected: &'static str,
    },
    /// A reply to something that wasn't asked.
    #[error("a reply to request {found}, not to {expected}")]
    WrongReply {
        /// The request that the reply names.
        found: u64,
        /// The request that was made.
        expected: u64,
    },
    /// No greeting, in as many bytes as are looked through for one.
    #[error("no greeting in the first {looked_at} bytes: the program isn't a helper")]
    NoGreeting {
        /// Bytes looked through.
        looked_at: usize,
    },
    /// Bytes that nobody asked for.
    #[error("{extra} bytes that nobody asked for")]
    Unasked {
        /// How many, as far as they were read.
        extra: usize,
    },
}
