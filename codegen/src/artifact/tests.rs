use super::*;
use crate::{
    Compiler, NativeProgram, OptimizationLevel, PassSet, Stencils, code_memory::CodeRegion,
    compiled::CompiledEntry,
};
use std::{sync::Arc, time::Instant};
use target_lexicon::Triple;

/// A loop with a call in it: several blocks, jumps, and places to resume at.
const CODE: &[u8] = &[
    0x60, 0x03, 0x5b, 0x60, 0x01, 0x90, 0x03, 0x5f, 0x5f, 0x5f, 0x5f, 0x5f, 0x5f, 0x5a, 0xf1, 0x50,
    0x80, 0x60, 0x02, 0x57, 0x5b, 0x00,
];
const SPEC: SpecId = SpecId::OSAKA;

struct Sample {
    options: CompilerOptions,
    identity: Identity,
    code: CompiledCode,
    bytes: Vec<u8>,
}

impl Sample {
    fn new() -> Self {
        Self::with(CompilerOptions { compile_all: true, ..Default::default() })
    }

    fn with(options: CompilerOptions) -> Self {
        let mut compiler = Compiler::new(options).unwrap();
        let code = compiler.compile(CODE, SPEC).unwrap();
        let identity = compiler.identity(keccak256(CODE));
        let bytes = encode(&code, &identity);
        Self { options, identity, code, bytes }
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            code_hash: keccak256(CODE),
            code_len: Some(CODE.len()),
            spec_id: SPEC,
            options: &self.options,
            cranelift: Some(Compiler::CRANELIFT),
            artifact_hash: Some(keccak256(&self.bytes)),
        }
    }

    /// What decoding says of these bytes, whatever a manifest says.
    fn refusal(&self, bytes: &[u8]) -> ArtifactError {
        let expected = Expected { artifact_hash: None, ..self.expected() };
        decode(bytes, &expected).expect_err("must be refused")
    }

    /// The artifact, with changes to what it says, and the hash that belongs to them.
    fn forged(&self, change: impl FnOnce(&mut Header, &mut CompiledCode)) -> Vec<u8> {
        let mut code = self.code.clone();
        let mut header = Header::of(&code, &self.identity);
        change(&mut header, &mut code);
        let len = header.len() + structure::encoded_len(&code) + HASH_LEN;
        header.artifact_len = len as u64;
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        structure::write(&code, &mut bytes);
        sealed(bytes)
    }
}

/// Appends the hash.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let hash = keccak256(&body);
    body.extend_from_slice(hash.as_slice());
    body
}

#[test]
fn what_is_written_is_read() {
    let sample = Sample::new();
    let code = decode(&sample.bytes, &sample.expected()).unwrap();
    assert_eq!(code.functions, sample.code.functions);
    assert_eq!(code.entries, sample.code.entries);
    assert_eq!((code.code_len, code.spec_id), (CODE.len() as u32, SPEC));
    assert!(code.entries.iter().any(|entry| entry.is_continuation));
    assert!(code.entries.iter().filter(|entry| entry.is_jumpdest).count() >= 2);
    let region = CodeRegion::new(1 << 20).unwrap();
    assert_eq!(NativeProgram::load(&code, &region).unwrap().spec_id(), SPEC);
    // The same again: compilation is deterministic, and nothing else goes into the bytes.
    assert_eq!(Sample::new().bytes, sample.bytes);
}

#[test]
fn the_header_says_what_is_needed() {
    let sample = Sample::new();
    let header = Header::read(&sample.bytes).unwrap();
    assert_eq!(header.artifact_len, sample.bytes.len() as u64);
    assert_eq!(header.code_hash, keccak256(CODE));
    assert_eq!((header.spec.as_str(), header.code_len), ("Osaka", CODE.len() as u32));
    assert_eq!(header.target, Triple::host().to_string());
    assert!(header.options.contains("compile_all=true"), "{}", header.options);
    let short = &sample.bytes[..header.len() - 1];
    assert!(matches!(Header::read(short), Err(ArtifactError::Malformed(_))));
}

/// The names that the compiler gives to extensions are known here: else its code would be refused
/// on the machine it was made on.
#[test]
fn this_machine_has_what_the_compiler_asks_for() {
    let identity = Compiler::new(CompilerOptions::default()).unwrap().identity(B256::ZERO);
    let host = Machine::host();
    assert_eq!(identity.machine.triple, host.triple);
    assert_eq!(host.lacks(identity.machine.features.iter().map(String::as_str)), None);
    if cfg!(target_arch = "x86_64") {
        assert!(!identity.machine.features.is_empty());
    }
}

#[test]
fn each_truncation_is_told() {
    let sample = Sample::new();
    for len in 0..sample.bytes.len() {
        let found = len as u64;
        match sample.refusal(&sample.bytes[..len]) {
            ArtifactError::Length { found: told, expected } => {
                assert!(told == found && expected > found, "{len}: {told} of {expected}");
            }
            other => panic!("{len}: {other}"),
        }
    }
    let mut longer = sample.bytes.clone();
    longer.push(0);
    assert!(matches!(sample.refusal(&longer), ArtifactError::Length { .. }));
}

#[test]
fn each_byte_counts() {
    let sample = Sample::new();
    let mut bytes = sample.bytes.clone();
    for place in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[place] ^= flip;
            let reason = sample.refusal(&bytes).reason();
            let wanted = match place {
                0..8 => "not-an-artifact",
                8..12 => "format",
                16..24 => "length",
                _ => "content-hash",
            };
            assert_eq!(reason, wanted, "byte {place}");
            bytes[place] ^= flip;
        }
    }
}

/// A change of the format can't be told from its content, only from the version.
#[test]
fn another_format_is_told_before_all_else() {
    let sample = Sample::new();
    let mut bytes = sample.bytes.clone();
    bytes[8] += 1;
    bytes.truncate(12);
    let error = sample.refusal(&bytes);
    assert_eq!(error, ArtifactError::Format { found: FORMAT + 1, expected: FORMAT });
}

/// Each field of the header, changed by somebody who also corrected the hash.
#[test]
fn each_field_has_its_reason() {
    type Change = fn(&mut Header, &mut CompiledCode);
    let sample = Sample::new();
    let changes: [(&str, Change); 14] = [
        ("abi", |header, _| header.abi.0[7] ^= 1),
        ("compiler", |header, _| header.compiler.push('1')),
        ("compiler", |header, _| header.cranelift = "0.1.0".into()),
        ("target", |header, _| header.target = "riscv64gc-unknown-linux-gnu".into()),
        ("cpu-feature", |header, _| header.cpu_features.push_str(",has_warp_drive")),
        ("spec", |header, _| header.spec = "Prague".into()),
        ("spec", |header, _| header.spec = String::new()),
        ("gas-schedule", |header, _| header.gas_schedule.0[0] ^= 1),
        ("options", |header, _| header.options = header.options.replace("never", "3")),
        ("options", |header, _| header.options.clear()),
        ("bytecode", |header, _| header.code_hash.0[31] ^= 1),
        ("bytecode-length", |header, _| header.code_len += 1),
        ("malformed", |header, _| header.entries += 1),
        ("malformed", |header, _| header.functions = u32::MAX),
    ];
    for (index, (reason, change)) in changes.into_iter().enumerate() {
        let error = sample.refusal(&sample.forged(change));
        assert_eq!(error.reason(), reason, "change {index}: {error}");
    }
    assert!(decode(&sample.forged(|_, _| ()), &sample.expected()).is_ok());
}

#[test]
fn each_option_that_matters_is_compared() {
    let sample = Sample::new();
    let base = sample.options;
    let others = [
        ("opt_level", CompilerOptions { opt_level: OptimizationLevel::None, ..base }),
        ("skipped", CompilerOptions { no_dedup: true, ..base }),
        ("skipped", CompilerOptions { no_dse: true, ..base }),
        ("skipped", CompilerOptions { skip_passes: PassSet::SIMPLIFY, ..base }),
        ("debug_assertions", CompilerOptions { debug_assertions: true, ..base }),
        ("compile_all", CompilerOptions { compile_all: false, ..base }),
        (
            "work_limit",
            CompilerOptions { work_limit: crate::WorkLimit { contract: 1, per_byte: 1 }, ..base },
        ),
        ("one_block", CompilerOptions { one_block_per_chunk: true, ..base }),
        ("force_hand_over", CompilerOptions { force_hand_over: Some(0), ..base }),
        ("chaos", CompilerOptions { chaos: Some(crate::Chaos::new(1)), ..base }),
    ];
    for (name, options) in others {
        match sample.refusal(&Sample::with(options).bytes) {
            ArtifactError::Options { found, expected } => {
                assert!(found.starts_with(name) && expected.starts_with(name), "{found}");
            }
            other => panic!("{name}: {other}"),
        }
    }
    let same = CompilerOptions { predict_jumps: true, single_error: true, ..base };
    assert_eq!(Sample::with(same).bytes, sample.bytes);
    let expected = Expected { options: &same, ..sample.expected() };
    assert!(decode(&sample.bytes, &expected).unwrap().single_error);
}

/// Whichever opcodes were foreign when code was made, it serves who has none that it executes.
#[test]
fn code_for_other_foreign_opcodes_serves_who_can_run_it() {
    let foreign = |opcodes: &[u8]| {
        let bits = opcodes.iter().map(|&opcode| crate::OpcodeSet::from(1) << usize::from(opcode));
        let foreign = bits.fold(crate::OpcodeSet::ZERO, |set, bit| set | bit);
        CompilerOptions { compile_all: true, foreign, ..Default::default() }
    };
    let usual = Sample::new();
    let wanted = |options| Expected { options, artifact_hash: None, ..usual.expected() };
    let (balance, call) = (foreign(&[0x31]), foreign(&[0x31, 0xf1]));
    let code = decode(&usual.bytes, &wanted(&balance)).unwrap();
    assert!(code.opcodes.bit(0xf1) && !code.opcodes.bit(0x31));
    let refused = decode(&usual.bytes, &wanted(&call)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "compiled with revm's instruction 0xf1, but a foreign one is wanted"
    );
    let code = decode(&Sample::with(call).bytes, &wanted(&usual.options)).unwrap();
    assert_eq!((code.foreign, code.opcodes.bit(0xf1)), (call.foreign, false));
}

#[test]
fn code_for_another_machine_is_told() {
    let sample = Sample::new();
    let other = if cfg!(target_arch = "aarch64") { "x86_64" } else { "aarch64" };
    let target: Triple = format!("{other}-unknown-linux-gnu").parse().unwrap();
    let mut compiler = Compiler::for_target(sample.options, target).unwrap();
    let code = compiler.compile(CODE, SPEC).unwrap();
    let bytes = encode(&code, &compiler.identity(keccak256(CODE)));
    assert_eq!(sample.refusal(&bytes).reason(), "target");
}

#[test]
fn another_file_in_its_place_is_told() {
    let sample = Sample::new();
    let expected = Expected { artifact_hash: Some(B256::ZERO), ..sample.expected() };
    assert_eq!(decode(&sample.bytes, &expected).unwrap_err(), ArtifactError::ManifestHash);
    let mut compiler = Compiler::new(sample.options).unwrap();
    let other = compiler.compile(&CODE[1..], SPEC).unwrap();
    let bytes = encode(&other, &compiler.identity(keccak256(&CODE[1..])));
    assert_eq!(sample.refusal(&bytes).reason(), "bytecode");
}

/// What loading relies on, each broken by somebody who also corrected the hash.
#[test]
fn impossible_tables_are_refused() {
    type Change = fn(&mut Header, &mut CompiledCode);
    let sample = Sample::new();
    let changes: [Change; 14] = [
        |_, code| code.functions[0].clear(),
        |_, code| code.functions[1].clear(),
        |header, code| {
            code.functions.truncate(1);
            header.functions = 1;
        },
        |header, code| {
            code.functions.clear();
            header.functions = 0;
        },
        |header, code| {
            code.entries.clear();
            header.entries = 0;
        },
        |_, code| code.entries[0].pc = 1,
        |_, code| code.entries[1].function = 0,
        |_, code| code.entries[1].function = code.functions.len() as u32,
        |_, code| code.entries[1].pc = CODE.len() as u32 + 1,
        |_, code| {
            let jumpdest = code.entries.iter_mut().find(|entry| entry.is_jumpdest).unwrap();
            jumpdest.pc = CODE.len() as u32;
        },
        |header, code| {
            let again = *code.entries.iter().find(|entry| entry.is_jumpdest).unwrap();
            code.entries.push(again);
            header.entries += 1;
        },
        |header, code| {
            let again = *code.entries.iter().find(|entry| entry.is_continuation).unwrap();
            code.entries.push(again);
            header.entries += 1;
        },
        |header, code| {
            let plain =
                CompiledEntry { is_jumpdest: false, is_continuation: false, ..code.entries[0] };
            code.entries.resize(1 << 16, plain);
            header.entries = 1 << 16;
        },
        |header, code| {
            code.functions.push(vec![0; 3]);
            header.functions += 2;
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let error = sample.refusal(&sample.forged(change));
        assert_eq!(error.reason(), "malformed", "change {index}: {error}");
    }
}

/// Code of stencils takes the place of an entry point in order of pc for its ordinal.
#[test]
fn stencils_come_in_order_of_pc() {
    let stencils = CompilerOptions {
        opt_level: OptimizationLevel::None,
        stencils: Stencils::ByLength,
        ..Default::default()
    };
    let sample = Sample::with(stencils);
    let decoded = decode(&sample.bytes, &sample.expected()).unwrap();
    assert!(decoded.entries.len() >= 3);
    assert!(decoded.entries.windows(2).all(|pair| pair[0].pc < pair[1].pc));
    let changes: [fn(&mut Header, &mut CompiledCode); 2] = [
        |_, code| code.entries.swap(1, 2),
        |_, code| {
            let entry = &mut code.entries[1];
            (entry.is_jumpdest, entry.is_continuation) = (false, false);
        },
    ];
    for change in changes {
        assert_eq!(sample.refusal(&sample.forged(change)).reason(), "malformed");
    }
}

/// More bytecode than there can be would be an index of gigabytes.
#[test]
fn an_impossible_length_of_bytecode_is_refused() {
    let sample = Sample::new();
    let bytes = sample.forged(|header, _| header.code_len = u32::MAX);
    let expected = Expected { code_len: None, artifact_hash: None, ..sample.expected() };
    assert_eq!(decode(&bytes, &expected).unwrap_err().reason(), "malformed");
}

/// Random damage to a file whose hash is corrected afterwards: whatever passes must be loadable.
#[test]
fn random_damage_is_refused_or_harmless() {
    let sample = Sample::new();
    let expected = Expected { artifact_hash: None, code_len: None, ..sample.expected() };
    let region: Arc<CodeRegion> = CodeRegion::new(1 << 20).unwrap();
    let body = &sample.bytes[..sample.bytes.len() - HASH_LEN];
    let tables = Header::read(body).unwrap().len();
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let (start, mut refused, mut passed) = (Instant::now(), 0, 0);
    while start.elapsed().as_millis() < 500 || refused + passed < 2_000 {
        let mut damaged = body.to_vec();
        for _ in 0..=random(4) {
            // Half of it where the structure is.
            let end = if random(2) == 0 { damaged.len() } else { tables + 200 };
            let place = random(end.min(damaged.len()));
            damaged[place] = random(256) as u8;
        }
        if random(4) == 0 {
            damaged.truncate(random(damaged.len()));
        }
        match decode(&sealed(damaged), &expected) {
            Err(_) => refused += 1,
            Ok(code) => {
                // Loaded, not run: damaged code may do anything.
                NativeProgram::load(&code, &region).unwrap();
                passed += 1;
            }
        }
    }
    assert!(refused > 0 && passed > 0, "{refused} refused, {passed} passed");
}
