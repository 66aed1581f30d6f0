//! An artifact's file in a [`DirArtifactStore`](super::DirArtifactStore): written whole or not at
//! all, and read without following links.
//!
//! ```text
//! the artifact's bytes
//! its manifest             one object of JSON
//! length of the manifest   4 bytes, little-endian
//! "cvm\n"
//! ```
//!
//! One file and not two, for two can disagree: after a crash, or between two processes. The
//! manifest comes last, so that the file begins with the artifact; its `artifact_len` tells where
//! that ends. Reading it takes one read of the file's end.

use super::{ArtifactManifest, StoreError};
use std::{
    fs::{self, File, FileTimes, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

/// What the file ends in.
const END: [u8; 4] = *b"cvm\n";
/// Longest manifest and tail that are read.
const MAX_MANIFEST_LEN: u64 = 4096;

/// What names of files begin with that aren't whole yet.
const UNFINISHED: &str = ".unfinished-";
/// Age of unfinished files from which on nobody is writing them any more.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);
/// How old the note of the last use becomes before it is renewed.
const USE_NOTED_FOR: Duration = Duration::from_secs(600);

/// Writes an artifact's file: beside its place, then there. Who reads meanwhile, and who is killed
/// meanwhile, leaves or finds the old file or the new one. If `durable`, the file outlives a loss
/// of power.
pub(super) fn write(
    path: &Path,
    manifest: &ArtifactManifest,
    artifact: &[u8],
    durable: bool,
) -> Result<u64, StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let text = serde_json::to_vec(manifest).map_err(|error| StoreError::Manifest {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    let mut tail = text;
    tail.extend_from_slice(&(tail.len() as u32).to_le_bytes());
    tail.extend_from_slice(&END);
    let unfinished = Unfinished(directory.join(unfinished_name()));
    let mut file = create(&unfinished.0)?;
    let failed = StoreError::io(path, "can't be written");
    let written = file.write_all(artifact).and_then(|()| file.write_all(&tail));
    written.and_then(|()| if durable { file.sync_all() } else { Ok(()) }).map_err(failed)?;
    fs::rename(&unfinished.0, path).map_err(StoreError::io(path, "can't be put in place"))?;
    if durable {
        sync_directory(directory)?;
    }
    Ok((artifact.len() + tail.len()) as u64)
}

/// The name of a file that isn't whole yet, of no other thread or process.
fn unfinished_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // In containers, processes of the same number may share a directory.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{UNFINISHED}{}-{count}-{}", process::id(), since.as_nanos())
}

/// A file to be deleted unless it was moved away.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Not there if all went well; what can't be deleted is when the store is opened again.
        let _deleted = fs::remove_file(&self.0);
    }
}

fn create(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(StoreError::io(path, "can't be created"))
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io(directory, "can't be made durable"))
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// An artifact's file, open.
pub(super) struct ArtifactFile {
    path: PathBuf,
    file: File,
    pub(super) len: u64,
    /// When it was last used.
    used: SystemTime,
}

impl ArtifactFile {
    /// Opens a file; `None` if there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let not_a_file = || StoreError::NotAFile { path: path.to_owned() };
        let unreadable = StoreError::io(path, "can't be read");
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => return Err(not_a_file()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true);
        // What took its place since is neither followed nor waited for.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            libc::O_NOFOLLOW | libc::O_NONBLOCK,
        );
        let file = match options.open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(unreadable)?,
        };
        let metadata = file.metadata().map_err(StoreError::io(path, "can't be read"))?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        let used = last_use(&metadata);
        Ok(Some(Self { path: path.to_owned(), file, len: metadata.len(), used }))
    }

    /// Reads the manifest.
    pub(super) fn manifest(&mut self) -> Result<ArtifactManifest, StoreError> {
        let wrong = |problem: String| StoreError::Manifest { path: self.path.clone(), problem };
        let len = self.len.min(MAX_MANIFEST_LEN);
        let mut end = Vec::with_capacity(len as usize);
        self.file
            .seek(SeekFrom::Start(self.len - len))
            .and_then(|_| (&self.file).take(len).read_to_end(&mut end))
            .map_err(StoreError::io(&self.path, "can't be read"))?;
        let rest = end.strip_suffix(&END).ok_or_else(|| wrong("it has another end".into()))?;
        let (rest, text_len) =
            rest.split_last_chunk().ok_or_else(|| wrong("it is too short".into()))?;
        let text_len = u32::from_le_bytes(*text_len) as usize;
        let start =
            rest.len().checked_sub(text_len).ok_or_else(|| wrong("it is too long".into()))?;
        serde_json::from_slice(&rest[start..]).map_err(|error| wrong(error.to_string()))
    }

    /// Notes that the file is used now, if that isn't noted already. A file system or a right that
    /// doesn't allow it makes the order of deletion worse, and nothing else.
    pub(super) fn touch(&self) {
        let now = SystemTime::now();
        if now.duration_since(self.used).is_ok_and(|age| age >= USE_NOTED_FOR) {
            let _noted = self.file.set_times(FileTimes::new().set_accessed(now));
        }
    }
}

/// When a file was last used, or written.
pub(super) fn last_use(metadata: &fs::Metadata) -> SystemTime {
    let times = [metadata.accessed(), metadata.modified()];
    times.into_iter().flatten().max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether a file is one that somebody began to write, and doesn't any more.
pub(super) fn is_abandoned(name: &str, metadata: &fs::Metadata) -> bool {
    name.starts_with(UNFINISHED)
        && metadata
            .modified()
            .is_ok_and(|then| then.elapsed().is_ok_and(|age| age >= ABANDONED_AFTER))
}
