//! Messages come back as they were, and broken ones are refused.

use super::*;
use crate::{OptimizationLevel, PassSet, WorkLimit, helper::wire::LENGTH_BYTES};
use cranevm_codegen::{Chaos, OpcodeSet, Stencils};

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
        stencils: Stencils::Called,
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
        chaos: Some(Chaos { seed: 1 << 40, from: 2, until: 1 << 50 }),
        foreign: OpcodeSet::from(0x31),
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
    let Reply::Failed { message, .. } = Reply::decode(&frame[LENGTH_BYTES..], 1).unwrap() else {
        panic!("a failure")
    };
    assert!(!message.is_empty() && message.chars().all(|c| c == 'é'));
    let code = vec![0; MAX_REQUEST];
    assert!(matches!(request(&code).encode(), Err(WireError::TooLong { .. })));
}
