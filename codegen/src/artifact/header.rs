//! The beginning of an artifact: what its code is of, what it is for, and what made it.

use super::{
    ArtifactError, Expected, FORMAT, Identity, MAGIC,
    fingerprint::{abi_hash, describe_options, differing_option, gas_hash},
    machine::Machine,
    wire::{Reader, put_text},
};
use crate::CompiledCode;
#[cfg(feature = "cranelift")]
use crate::sources::COMPILER_HASH;
use alloy_primitives::B256;
use std::sync::LazyLock;

/// No compiler.
#[cfg(not(feature = "cranelift"))]
const COMPILER_HASH: u64 = 0;

/// Where the lengths of header and file are written.
const LENGTHS: std::ops::Range<usize> = 12..24;

/// What an artifact says of itself. Read without the code, it is a claim: only
/// [`decode`](super::decode) verifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole artifact.
    pub artifact_len: u64,
    /// Hash of what code and its surroundings agree on; see [`abi_hash`].
    pub abi: B256,
    /// Keccak-256 of the bytecode.
    pub code_hash: B256,
    /// Hash of the fork's prices.
    pub gas_schedule: B256,
    /// Bytes of bytecode.
    pub code_len: u32,
    /// Entry points.
    pub entries: u32,
    /// Functions: the trampoline, the stub of absent chunks, and the chunks.
    pub functions: u32,
    /// Bytes of memory that a frame must have where it is entered elsewhere than at its start.
    pub initial_memory: u32,
    /// The crate that compiled it, with its version.
    pub compiler: String,
    /// Cranelift's version.
    pub cranelift: String,
    /// Target triple.
    pub target: String,
    /// Extensions of the processor that the code may use, by Cranelift's names, with commas
    /// between.
    pub cpu_features: String,
    /// The fork's name.
    pub spec: String,
    /// The options that the code depends on, as `name=value` with spaces between.
    pub options: String,
}

impl Header {
    /// Longest header in bytes: this much of a file is enough for [`read`](Self::read).
    pub const MAX_LEN: usize = 4096;

    /// Reads the header of an artifact whose first bytes these are. Checks nothing but that it is
    /// an artifact of this format: for listings.
    ///
    /// # Errors
    /// [`ArtifactError::NotAnArtifact`], [`ArtifactError::Format`], [`ArtifactError::Length`] for
    /// less than a header, [`ArtifactError::Malformed`].
    pub fn read(prefix: &[u8]) -> Result<Self, ArtifactError> {
        let artifact_len = claimed_len(prefix)?;
        let mut reader = Reader::new(prefix, "the header");
        reader.take(MAGIC.len() + size_of_val(&FORMAT))?;
        let header_len = reader.u32()? as usize;
        let is_whole = (LENGTHS.end..=Self::MAX_LEN).contains(&header_len);
        let bytes = prefix.get(LENGTHS.end..header_len).filter(|_| is_whole);
        let mut reader = Reader::new(
            bytes.ok_or(ArtifactError::Malformed("the header's length"))?,
            "the header",
        );
        let header = Self {
            artifact_len,
            abi: reader.hash()?,
            code_hash: reader.hash()?,
            gas_schedule: reader.hash()?,
            code_len: reader.u32()?,
            entries: reader.u32()?,
            functions: reader.u32()?,
            initial_memory: reader.u32()?,
            compiler: reader.text()?.to_owned(),
            cranelift: reader.text()?.to_owned(),
            target: reader.text()?.to_owned(),
            cpu_features: reader.text()?.to_owned(),
            spec: reader.text()?.to_owned(),
            options: reader.text()?.to_owned(),
        };
        reader.finish()?;
        Ok(header)
    }

    /// Bytes from the artifact's beginning to the tables.
    pub(super) fn len(&self) -> usize {
        let texts = [
            &self.compiler,
            &self.cranelift,
            &self.target,
            &self.cpu_features,
            &self.spec,
            &self.options,
        ];
        LENGTHS.end + 3 * 32 + 4 * 4 + texts.iter().map(|text| 2 + text.len()).sum::<usize>()
    }

    /// What an artifact of `code` says of itself, but for its length.
    pub(super) fn of(code: &CompiledCode, identity: &Identity) -> Self {
        let Identity { code_hash, options, machine, cranelift } = identity;
        Self {
            artifact_len: 0,
            abi: abi_hash(),
            code_hash: *code_hash,
            gas_schedule: gas_hash(code.spec_id),
            code_len: code.code_len,
            entries: code.entries.len() as u32,
            functions: code.functions.len() as u32,
            initial_memory: code.initial_memory,
            compiler: compiler_name().to_owned(),
            cranelift: cranelift.clone(),
            target: machine.triple.clone(),
            cpu_features: machine.features.join(","),
            spec: code.spec_id.to_string(),
            options: match code.jumpdests.is_empty() {
                true => describe_options(options),
                // What artifacts hold doesn't tell what isn't compiled from what can't be jumped
                // to: so nobody gets this for what was asked for.
                false => format!("{} blocks=some", describe_options(options)),
            },
        }
    }

    /// Appends the header.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.artifact_len.to_le_bytes());
        for hash in [self.abi, self.code_hash, self.gas_schedule] {
            out.extend_from_slice(hash.as_slice());
        }
        for number in [self.code_len, self.entries, self.functions, self.initial_memory] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for text in [
            &self.compiler,
            &self.cranelift,
            &self.target,
            &self.cpu_features,
            &self.spec,
            &self.options,
        ] {
            put_text(out, text);
        }
    }

    /// Whether code with this header is what is wanted and can run here.
    ///
    /// # Errors
    /// The first difference, in the order of [`ArtifactError`]'s variants.
    pub fn check(&self, expected: &Expected<'_>) -> Result<(), ArtifactError> {
        self.check_build(expected.cranelift)?;
        self.check_machine(&Machine::running(expected.options))?;
        let (found, spec_id) = (&self.spec, expected.spec_id);
        if *found != spec_id.to_string() {
            let (found, expected) = (found.clone(), spec_id.to_string());
            return Err(ArtifactError::Spec { found, expected });
        }
        if self.gas_schedule != gas_hash(spec_id) {
            return Err(ArtifactError::GasSchedule);
        }
        let wanted = describe_options(expected.options);
        if self.options != wanted {
            let (found, expected) = differing_option(&self.options, &wanted);
            let (found, expected) = (found.to_owned(), expected.to_owned());
            return Err(ArtifactError::Options { found, expected });
        }
        let (found, expected_hash) = (self.code_hash, expected.code_hash);
        if found != expected_hash {
            return Err(ArtifactError::Bytecode { found, expected: expected_hash });
        }
        match expected.code_len {
            Some(expected) if self.code_len as usize != expected => {
                Err(ArtifactError::BytecodeLength { found: self.code_len, expected })
            }
            _ => Ok(()),
        }
    }

    /// Whether this build can run the code.
    fn check_build(&self, cranelift: Option<&str>) -> Result<(), ArtifactError> {
        let (found, expected) = (self.abi, abi_hash());
        if found != expected {
            return Err(ArtifactError::Abi { found, expected });
        }
        let different = self.compiler != compiler_name()
            || cranelift.is_some_and(|expected| self.cranelift != expected);
        if different {
            let with =
                |compiler: &str, cranelift: &str| format!("{compiler}, Cranelift {cranelift}");
            return Err(ArtifactError::Compiler {
                found: with(&self.compiler, &self.cranelift),
                expected: with(compiler_name(), cranelift.unwrap_or("of any version")),
            });
        }
        Ok(())
    }

    /// Whether `machine` can run the code.
    fn check_machine(&self, machine: &Machine) -> Result<(), ArtifactError> {
        if self.target != machine.triple {
            let (found, expected) = (self.target.clone(), machine.triple.clone());
            return Err(ArtifactError::Target { found, expected });
        }
        let needed = self.cpu_features.split(',').filter(|name| !name.is_empty());
        match machine.lacks(needed) {
            Some(missing) => Err(ArtifactError::CpuFeature { missing: missing.to_owned() }),
            None => Ok(()),
        }
    }
}

/// This build of this crate, as the compiler of artifacts: its version, and a hash of its sources,
/// for a version has many builds before the next.
pub fn compiler_name() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        let version = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
        format!("{version} ({COMPILER_HASH:016x})")
    });
    &NAME
}

/// The length in bytes that an artifact says it has. Checks magic and format, which every version
/// has at the same place; 24 bytes are enough.
///
/// # Errors
/// [`ArtifactError::NotAnArtifact`], [`ArtifactError::Format`], or [`ArtifactError::Length`] for
/// fewer bytes than that.
pub fn claimed_len(bytes: &[u8]) -> Result<u64, ArtifactError> {
    let begins_right = bytes.iter().zip(&MAGIC).all(|(found, magic)| found == magic);
    if !begins_right {
        return Err(ArtifactError::NotAnArtifact);
    }
    let mut reader = Reader::new(bytes, "the header");
    let too_short =
        |_| ArtifactError::Length { found: bytes.len() as u64, expected: bytes.len() as u64 + 1 };
    reader.take(MAGIC.len()).map_err(too_short)?;
    let found = reader.u32().map_err(too_short)?;
    if found != FORMAT {
        return Err(ArtifactError::Format { found, expected: FORMAT });
    }
    reader.u32().map_err(too_short)?;
    reader.u64().map_err(too_short)
}
