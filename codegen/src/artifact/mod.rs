//! Compiled code as one file, for another process or another day.
//!
//! An artifact holds what a [`CompiledCode`] holds, and says what it is of and what it needs:
//!
//! ```text
//! magic, format version          the same in every version
//! lengths of header and file
//! ABI hash, bytecode hash, hash of the fork's prices
//! bytes of bytecode, number of entry points, number of functions, bytes of memory at entry
//! compiler, Cranelift, target, CPU features, fork, options        texts
//! opcodes compiled, foreign ones  32 bytes each
//! entry points                   pc, function, offset, flags: 13 bytes each
//! lengths of the functions       4 bytes each
//! the functions' code
//! Keccak-256 of all the above
//! ```
//!
//! Numbers are little-endian. The same code makes the same bytes. There are no relocations and no
//! addresses: loading copies the functions.
//!
//! [`decode`] believes nothing: it checks length and hash, then that the artifact is the one wanted
//! and can run here, then each entry. What it returns is safe to load (`structure` lists what
//! loading relies on). The hash detects corruption, **not forgery**: who can write a store's files
//! can run code in the process that loads them, as who can write its executable.
//!
//! Cost of decoding: one Keccak pass over the bytes, and one copy of them.

mod error;
mod fingerprint;
mod header;
mod machine;
mod structure;
mod wire;

#[cfg(all(test, feature = "cranelift"))]
mod tests;

pub use error::ArtifactError;
pub use fingerprint::abi_hash;
pub use header::{Header, claimed_len, compiler_name};
pub use machine::Machine;

use crate::{CompiledCode, CompilerOptions};
use alloy_primitives::{B256, Keccak256, keccak256};
use revm_primitives::hardfork::SpecId;

/// What an artifact begins with. The first byte isn't ASCII, so that no text is taken for one, and
/// the line ends show a transfer as text.
const MAGIC: [u8; 8] = *b"\x8fcvm\r\n\x1a\n";

/// Version of the format. To be raised with each change of it.
pub const FORMAT: u32 = 3;

/// Bytes of the hash at the end.
const HASH_LEN: usize = 32;

/// What an artifact is told about its code.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Keccak-256 of the bytecode.
    pub code_hash: B256,
    /// How it was compiled.
    pub options: CompilerOptions,
    /// What it was compiled for.
    pub machine: Machine,
    /// Version of the Cranelift that compiled it.
    pub cranelift: String,
}

/// What an artifact has to be, besides fit for this build and this machine.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Keccak-256 of the bytecode.
    pub code_hash: B256,
    /// Bytes of bytecode, if that is known.
    pub code_len: Option<usize>,
    /// The fork.
    pub spec_id: SpecId,
    /// How it was to be compiled.
    pub options: &'a CompilerOptions,
    /// Version of Cranelift; `None` for any.
    pub cranelift: Option<&'a str>,
    /// Keccak-256 of the whole artifact, if a manifest tells it.
    pub artifact_hash: Option<B256>,
}

/// Writes an artifact. `code` must have been compiled as `identity` says.
pub fn encode(code: &CompiledCode, identity: &Identity) -> Vec<u8> {
    let mut header = Header::of(code, identity);
    let len = header.len() + structure::encoded_len(code) + HASH_LEN;
    header.artifact_len = len as u64;
    let mut out = Vec::with_capacity(len);
    header.write(&mut out);
    structure::write(code, &mut out);
    let hash = keccak256(&out);
    out.extend_from_slice(hash.as_slice());
    out
}

/// Reads an artifact, if it is whole and what is expected.
///
/// # Errors
/// The first check that fails, in the order of [`ArtifactError`]'s variants.
pub fn decode(bytes: &[u8], expected: &Expected<'_>) -> Result<CompiledCode, ArtifactError> {
    let body = check_content(bytes, expected.artifact_hash)?;
    let header = Header::read(body)?;
    header.check(expected)?;
    let code = structure::read(&body[header.len()..], &header, expected)?;
    Ok(code)
}

/// Checks that the bytes are those that were written: format, length and hash; all but the hash.
fn check_content(bytes: &[u8], artifact_hash: Option<B256>) -> Result<&[u8], ArtifactError> {
    let expected = claimed_len(bytes)?;
    let found = bytes.len() as u64;
    if expected != found {
        return Err(ArtifactError::Length { found, expected });
    }
    let Some((body, hash)) = bytes.split_last_chunk::<HASH_LEN>() else {
        return Err(ArtifactError::Malformed("shorter than its hash"));
    };
    // One pass for both hashes: that of the whole goes on where that of the body ends.
    let mut hasher = Keccak256::new();
    hasher.update(body);
    if hasher.clone().finalize() != B256::new(*hash) {
        return Err(ArtifactError::ContentHash);
    }
    hasher.update(hash);
    match artifact_hash {
        Some(manifest) if hasher.finalize() != manifest => Err(ArtifactError::ManifestHash),
        _ => Ok(body),
    }
}
