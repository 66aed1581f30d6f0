//! What a backend and a helper say to each other.
//!
//! The helper speaks first: [`MAGIC`], then a [`Hello`] with the version of this protocol, the hash
//! of the interface between compiled code and its surroundings, and the build. These two never
//! change their form, so that any version can tell another one apart. What a program prints before
//! it becomes a helper comes before [`MAGIC`], and is skipped. Then the backend sends [`Setup`],
//! the helper is ready or says why not, and from there each request has one reply.
//!
//! What comes from a helper is taken for hostile: every length is bounded, every field checked, and
//! the code itself is an artifact, which is verified before a byte of it becomes executable.

use super::{
    error::WireError,
    options,
    wire::{FrameReader, FrameWriter},
};
use crate::{CompileTimings, lookup::RuntimeCacheKey};
use alloy_primitives::B256;
use cranevm_codegen::CompilerOptions;
use revm::primitives::hardfork::SpecId;
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Version of everything here but [`MAGIC`] and [`Hello`].
pub(crate) const VERSION: u32 = 3;

/// What a helper's output begins with. It isn't UTF-8, and no text that a program prints.
pub(crate) const MAGIC: [u8; 16] = *b"\xffcranevm-helper\xfe";

/// Longest content of any frame but those with bytecode or code in them.
pub(crate) const SHORT: usize = 64 << 10;

/// Longest bytecode that is sent. The analysis takes less.
pub(crate) const MAX_BYTECODE: usize = 32 << 20;

/// Longest content of a request.
pub(crate) const MAX_REQUEST: usize = SHORT + MAX_BYTECODE;

/// Longest content of the reply to a request with so many bytes of bytecode: some fifty times what
/// the compiler makes of any.
pub(crate) const fn max_reply(bytecode_len: usize) -> usize {
    const MOST: usize = 1 << 30;
    let limit = (1 << 20) + bytecode_len.saturating_mul(1 << 10);
    if limit < MOST { limit } else { MOST }
}

/// A message's kind: its first byte.
mod kind {
    pub(super) const SETUP: u8 = 1;
    pub(super) const COMPILE: u8 = 2;
    pub(super) const DUMP: u8 = 3;
    pub(super) const HELLO: u8 = 16;
    pub(super) const READY: u8 = 17;
    pub(super) const REFUSED: u8 = 18;
    pub(super) const COMPILED: u8 = 19;
    pub(super) const FAILED: u8 = 20;
    pub(super) const DUMPED: u8 = 21;
}

/// Who a helper is: what must be equal on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    /// Hash of the interface between compiled code and its surroundings.
    pub(crate) abi: [u8; 32],
    /// Version of this crate and of the compiler.
    pub(crate) build: String,
}

impl Hello {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, WireError> {
        let frame = FrameWriter::new(kind::HELLO, 0).u32(self.protocol).array(&self.abi);
        frame.bytes(self.build.as_bytes()).finish(SHORT)
    }

    pub(crate) fn decode(content: &[u8]) -> Result<Self, WireError> {
        let mut fields = open(content, kind::HELLO, "a greeting")?;
        let protocol = fields.u32("protocol")?;
        let abi = fields.array("abi")?;
        let build = fields.text("build")?.to_owned();
        fields.finish()?;
        Ok(Self { protocol, abi, build })
    }
}

/// What holds for all requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Compilations after which a compiler is built anew; 0: never.
    pub(crate) recycle_threshold: u64,
    /// Where dumps go.
    pub(crate) dump_dir: Option<PathBuf>,
}

impl Setup {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, WireError> {
        let directory = self.dump_dir.as_deref().map(|path| path.as_os_str().as_bytes());
        FrameWriter::new(kind::SETUP, 0)
            .u64(self.recycle_threshold)
            .bool(directory.is_some())
            .bytes(directory.unwrap_or_default())
            .finish(SHORT)
    }

    pub(crate) fn decode(content: &[u8]) -> Result<Self, WireError> {
        let mut fields = open(content, kind::SETUP, "the settings")?;
        let recycle_threshold = fields.u64("recycle_threshold")?;
        let has_directory = fields.bool("has_dump_dir")?;
        let directory = Path::new(OsStr::from_bytes(fields.bytes("dump_dir")?));
        fields.finish()?;
        let dump_dir = has_directory.then(|| directory.to_owned());
        Ok(Self { recycle_threshold, dump_dir })
    }
}

/// What a helper says to its [`Setup`].
pub(crate) fn encode_ready(problem: Option<&str>) -> Result<Vec<u8>, WireError> {
    match problem {
        None => FrameWriter::new(kind::READY, 0).finish(SHORT),
        Some(text) => FrameWriter::new(kind::REFUSED, 0).bytes(shortened(text)).finish(SHORT),
    }
}

/// `None` if the helper is ready, or why it isn't.
pub(crate) fn decode_ready(content: &[u8]) -> Result<Option<String>, WireError> {
    let mut fields = FrameReader::new(content);
    let problem = match fields.u8("kind")? {
        kind::READY => None,
        kind::REFUSED => Some(text(&mut fields, "problem")?),
        kind => return Err(WireError::Unexpected { kind, expected: "readiness" }),
    };
    fields.finish()?;
    Ok(problem)
}

/// What is wanted of a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// An artifact.
    Compile,
    /// Files in the directory for dumps.
    Dump,
}

/// Asks for something to be done with a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) id: u64,
    pub(crate) task: Task,
    pub(crate) key: RuntimeCacheKey,
    pub(crate) options: CompilerOptions,
    pub(crate) code: &'a [u8],
}

impl<'a> Request<'a> {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, WireError> {
        let kind = match self.task {
            Task::Compile => kind::COMPILE,
            Task::Dump => kind::DUMP,
        };
        let frame = FrameWriter::new(kind, 256 + self.code.len())
            .u64(self.id)
            .array(&self.key.code_hash)
            .u8(self.key.spec_id as u8);
        options::write(frame, &self.options).bytes(self.code).finish(MAX_REQUEST)
    }

    pub(crate) fn decode(content: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = FrameReader::new(content);
        let task = match fields.u8("kind")? {
            kind::COMPILE => Task::Compile,
            kind::DUMP => Task::Dump,
            kind => return Err(WireError::Unexpected { kind, expected: "a request" }),
        };
        let id = fields.u64("id")?;
        let code_hash = B256::from(fields.array::<32>("code_hash")?);
        let spec_id = SpecId::try_from_u8(fields.u8("spec_id")?);
        let spec_id = spec_id.ok_or(WireError::BadValue { field: "spec_id" })?;
        let options = options::read(&mut fields)?;
        let code = fields.bytes("code")?;
        fields.finish()?;
        Ok(Self { id, task, key: RuntimeCacheKey { code_hash, spec_id }, options, code })
    }
}

/// Why a helper couldn't do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The compiler refused.
    Compiler,
    /// The compiler panicked.
    Panic,
    /// Files couldn't be written.
    Files,
}

/// Answers a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    Compiled { id: u64, timings: CompileTimings, artifact: &'a [u8] },
    Failed { id: u64, fault: Fault, message: String },
    Dumped { id: u64 },
}

impl<'a> Reply<'a> {
    /// The frame; `limit` is that of the request's reader.
    pub(crate) fn encode(&self, limit: usize) -> Result<Vec<u8>, WireError> {
        let frame = match self {
            Self::Compiled { id, timings, artifact } => {
                let mut frame = FrameWriter::new(kind::COMPILED, 64 + artifact.len()).u64(*id);
                for time in parts(*timings) {
                    frame = frame.u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
                }
                frame.bytes(artifact)
            }
            Self::Failed { id, fault, message } => {
                let frame = FrameWriter::new(kind::FAILED, 0).u64(*id).u8(*fault as u8);
                frame.bytes(shortened(message))
            }
            Self::Dumped { id } => FrameWriter::new(kind::DUMPED, 0).u64(*id),
        };
        frame.finish(limit)
    }

    /// The reply to the request `expected`.
    pub(crate) fn decode(content: &'a [u8], expected: u64) -> Result<Self, WireError> {
        let mut fields = FrameReader::new(content);
        let kind = fields.u8("kind")?;
        if !matches!(kind, kind::COMPILED | kind::FAILED | kind::DUMPED) {
            return Err(WireError::Unexpected { kind, expected: "a reply" });
        }
        let id = fields.u64("id")?;
        if id != expected {
            return Err(WireError::WrongReply { found: id, expected });
        }
        let reply = match kind {
            kind::COMPILED => {
                let timings = read_timings(&mut fields)?;
                Self::Compiled { id, timings, artifact: fields.bytes("artifact")? }
            }
            kind::FAILED => {
                let fault = match fields.u8("fault")? {
                    0 => Fault::Compiler,
                    1 => Fault::Panic,
                    2 => Fault::Files,
                    _ => return Err(WireError::BadValue { field: "fault" }),
                };
                Self::Failed { id, fault, message: text(&mut fields, "message")? }
            }
            _ => Self::Dumped { id },
        };
        fields.finish()?;
        Ok(reply)
    }
}

/// The fields of a message of the kind that must come now.
fn open<'a>(
    content: &'a [u8],
    wanted: u8,
    expected: &'static str,
) -> Result<FrameReader<'a>, WireError> {
    let mut fields = FrameReader::new(content);
    match fields.u8("kind")? {
        kind if kind == wanted => Ok(fields),
        kind => Err(WireError::Unexpected { kind, expected }),
    }
}

/// As much of a text for people as fits into a short message.
fn shortened(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(SHORT / 2)]
}

fn text(fields: &mut FrameReader<'_>, field: &'static str) -> Result<String, WireError> {
    // For people: what isn't UTF-8 is shown as such.
    Ok(String::from_utf8_lossy(fields.bytes(field)?).into_owned())
}

fn parts(timings: CompileTimings) -> [Duration; 4] {
    let CompileTimings { parse, translate, optimize, codegen } = timings;
    [parse, translate, optimize, codegen]
}

fn read_timings(fields: &mut FrameReader<'_>) -> Result<CompileTimings, WireError> {
    let mut time = || fields.u64("timings").map(Duration::from_nanos);
    let (parse, translate, optimize, codegen) = (time()?, time()?, time()?, time()?);
    Ok(CompileTimings { parse, translate, optimize, codegen })
}

#[cfg(test)]
mod tests;
