//! Reading an artifact's file, wherever a store keeps it.
//!
//! The store's word is taken for where the bytes are, and for nothing else. A file that doesn't
//! begin like an artifact isn't read further, so a store full of foreign libraries costs little.

use super::{ArtifactProblem, StoredArtifact};
use cranevm_codegen::artifact::{ArtifactError, claimed_len};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
};

/// Longest artifact that is read: ten times that of the longest bytecode that is analysed.
const MAX_LEN: u64 = 2 << 30;

/// Bytes that tell whether a file is an artifact, and how long.
const PREFIX_LEN: u64 = 24;

/// The bytes of a stored artifact: as many as it says it has. They aren't verified.
pub(super) fn read_artifact(stored: &StoredArtifact) -> Result<Vec<u8>, ArtifactProblem> {
    let unreadable = |source| {
        let path = stored.dylib_path.clone();
        ArtifactProblem::Unreadable { path, source }
    };
    let (mut file, file_len) = open(stored).map_err(unreadable)?;
    let mut bytes = Vec::new();
    (&mut file).take(PREFIX_LEN).read_to_end(&mut bytes).map_err(unreadable)?;
    let expected = claimed_len(&bytes)?;
    let found = file_len.min(stored.manifest.artifact_len as u64);
    if found != expected {
        return Err(ArtifactError::Length { found, expected }.into());
    }
    if expected > MAX_LEN {
        return Err(ArtifactError::Malformed("longer than any artifact").into());
    }
    let rest = expected.saturating_sub(bytes.len() as u64);
    bytes.reserve_exact(rest as usize);
    file.take(rest).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn open(stored: &StoredArtifact) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe in a file's place isn't waited for.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(&stored.dylib_path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok((file, metadata.len()))
}
