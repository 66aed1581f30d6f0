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
    wire::{FrameReader, FrameWriter},
};
use crate::{CompileTimings, OptimizationLevel, PassSet, WorkLimit, lookup::RuntimeCacheKey};
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
pub(crate) const VERSION: u32 = 1;

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
        write_options(frame, &self.options).bytes(self.code).finish(MAX_REQUEST)
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
        let options = read_options(&mut fields)?;
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

fn write_options(frame: FrameWriter, options: &CompilerOptions) -> FrameWriter {
    // Exhaustive, so that no option is forgotten.
    let CompilerOptions {
        opt_level,
        single_error,
        no_dedup,
        no_dse,
        skip_passes,
        predict_jumps,
        debug_assertions,
        verify,
        compile_all,
        work_limit: WorkLimit { contract, per_byte },
        one_block_per_chunk,
        force_hand_over,
        // Runs in the process that it is given to.
        emulator: _,
    } = *options;
    let passes = match skip_passes {
        PassSet::NONE => String::new(),
        passes => passes.to_string(),
    };
    frame
        .u8(opt_level as u8)
        .bool(single_error)
        .bool(no_dedup)
        .bool(no_dse)
        .bytes(passes.as_bytes())
        .bool(predict_jumps)
        .bool(debug_assertions)
        .bool(verify)
        .bool(compile_all)
        .u32(contract)
        .u32(per_byte)
        .bool(one_block_per_chunk)
        .bool(force_hand_over.is_some())
        .u32(force_hand_over.unwrap_or_default())
}

fn read_options(fields: &mut FrameReader<'_>) -> Result<CompilerOptions, WireError> {
    let level = fields.u8("opt_level")?;
    let levels = [
        OptimizationLevel::None,
        OptimizationLevel::Less,
        OptimizationLevel::Default,
        OptimizationLevel::Aggressive,
    ];
    let opt_level = levels.into_iter().find(|&known| known as u8 == level);
    Ok(CompilerOptions {
        opt_level: opt_level.ok_or(WireError::BadValue { field: "opt_level" })?,
        single_error: fields.bool("single_error")?,
        no_dedup: fields.bool("no_dedup")?,
        no_dse: fields.bool("no_dse")?,
        skip_passes: read_passes(fields.text("skip_passes")?)?,
        predict_jumps: fields.bool("predict_jumps")?,
        debug_assertions: fields.bool("debug_assertions")?,
        verify: fields.bool("verify")?,
        compile_all: fields.bool("compile_all")?,
        work_limit: WorkLimit {
            contract: fields.u32("work_limit")?,
            per_byte: fields.u32("work_limit")?,
        },
        one_block_per_chunk: fields.bool("one_block_per_chunk")?,
        force_hand_over: {
            let is_set = fields.bool("force_hand_over")?;
            let blocks = fields.u32("force_hand_over")?;
            is_set.then_some(blocks)
        },
        emulator: None,
    })
}

fn read_passes(names: &str) -> Result<PassSet, WireError> {
    let named = |name| PassSet::from_name(name).ok_or(WireError::BadValue { field: "skip_passes" });
    let mut names = names.split(',').filter(|name| !name.is_empty());
    names.try_fold(PassSet::NONE, |passes, name| Ok(passes.union(named(name)?)))
}

#[cfg(test)]
mod tests {
    use super::{super::wire::LENGTH_BYTES, *};

    fn hello() -> Hello {
        Hello { protocol: VERSION, abi: [5; 32], build: "1.2.3".into() }
    }

    fn setup() -> Setup {
        let path = PathBuf::from(OsStr::from_bytes(b"/not\xffunicode\n"));
        Setup { recycle_threshold: 1000, dump_dir: Some(path) }
    }

    /// Every option differs from its default.
    fn options() -> CompilerOptions {
        CompilerOptions {
            opt_level: OptimizationLevel::Aggressive,
            single_error: true,
            no_dedup: true,
            no_dse: true,
            skip_passes: PassSet::DEDUP.union(PassSet::THREAD_JUMPS),
            predict_jumps: true,
            debug_assertions: true,
            verify: true,
            compile_all: true,
            work_limit: WorkLimit { contract: 7, per_byte: 8 },
            one_block_per_chunk: true,
            force_hand_over: Some(9),
            emulator: None,
        }
    }

    fn request(code: &[u8]) -> Request<'_> {
        let key = RuntimeCacheKey { code_hash: B256::repeat_byte(3), spec_id: SpecId::OSAKA };
        Request { id: 1 << 40, task: Task::Dump, key, options: options(), code }
    }

    fn timings() -> CompileTimings {
        let [parse, translate, optimize, codegen] = [1, 2, 3, 4].map(Duration::from_millis);
        CompileTimings { parse, translate, optimize, codegen }
    }

    fn replies() -> [Reply<'static>; 3] {
        [
            Reply::Compiled { id: 4, timings: timings(), artifact: b"artifact" },
            Reply::Failed { id: 4, fault: Fault::Panic, message: "why".into() },
            Reply::Dumped { id: 4 },
        ]
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let hello = hello();
        assert_eq!(Hello::decode(&hello.encode().unwrap()[LENGTH_BYTES..]).unwrap(), hello);
        for setup in [setup(), Setup::default()] {
            assert_eq!(Setup::decode(&setup.encode().unwrap()[LENGTH_BYTES..]).unwrap(), setup);
        }
        for options in [options(), CompilerOptions::default()] {
            let request = Request { options, ..request(b"code") };
            let frame = request.encode().unwrap();
            assert_eq!(Request::decode(&frame[LENGTH_BYTES..]).unwrap(), request);
        }
        for reply in replies() {
            let frame = reply.encode(SHORT).unwrap();
            assert_eq!(Reply::decode(&frame[LENGTH_BYTES..], 4).unwrap(), reply);
            let wrong = Reply::decode(&frame[LENGTH_BYTES..], 5);
            assert_eq!(wrong, Err(WireError::WrongReply { found: 4, expected: 5 }));
        }
        for problem in [None, Some("no room")] {
            let frame = encode_ready(problem).unwrap();
            let decoded = decode_ready(&frame[LENGTH_BYTES..]).unwrap();
            assert_eq!(decoded.as_deref(), problem);
        }
    }

    /// All messages, to be broken.
    fn frames() -> Vec<Vec<u8>> {
        let mut frames = vec![
            hello().encode().unwrap(),
            setup().encode().unwrap(),
            request(&[0x5b; 300]).encode().unwrap(),
            encode_ready(Some("no")).unwrap(),
        ];
        frames.extend(replies().map(|reply| reply.encode(SHORT).unwrap()));
        frames
    }

    /// How many of the decoders take this content.
    fn taken_by(content: &[u8]) -> usize {
        usize::from(Hello::decode(content).is_ok())
            + usize::from(Setup::decode(content).is_ok())
            + usize::from(Request::decode(content).is_ok())
            + usize::from(decode_ready(content).is_ok())
            + usize::from(Reply::decode(content, 4).is_ok())
    }

    #[test]
    fn no_message_is_taken_for_another_or_when_cut_off() {
        for frame in frames() {
            let content = &frame[LENGTH_BYTES..];
            assert_eq!(taken_by(content), 1);
            for end in 0..content.len() {
                assert_eq!(taken_by(&content[..end]), 0, "{end} of {content:?}");
            }
            assert_eq!(taken_by(&[content, &[0]].concat()), 0);
        }
    }

    /// Random changes are refused, or read as another message; nothing panics.
    #[test]
    fn broken_messages_are_refused_or_read_as_something_else() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            // xorshift64*
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
        };
        let (mut refused, mut taken) = (0, 0);
        for frame in frames() {
            for _ in 0..3000 {
                let mut content = frame[LENGTH_BYTES..].to_vec();
                for _ in 0..=random(3) {
                    let at = random(content.len());
                    content[at] = random(256) as u8;
                }
                match taken_by(&content) {
                    0 => refused += 1,
                    _ => taken += 1,
                }
            }
        }
        assert!(refused > 1000 && taken > 1000, "{refused} refused, {taken} taken");
    }

    #[test]
    fn long_texts_are_shortened_and_long_code_is_refused() {
        let reply = Reply::Failed { id: 1, fault: Fault::Files, message: "é".repeat(SHORT) };
        let frame = reply.encode(SHORT).unwrap();
        let Reply::Failed { message, .. } = Reply::decode(&frame[LENGTH_BYTES..], 1).unwrap()
        else {
            panic!("a failure")
        };
        assert!(!message.is_empty() && message.chars().all(|c| c == 'é'));
        let code = vec![0; MAX_REQUEST];
        assert!(matches!(request(&code).encode(), Err(WireError::TooLong { .. })));
    }
}
