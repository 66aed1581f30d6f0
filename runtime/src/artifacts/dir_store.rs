//! A store in a directory, for several processes at once.
//!
//! A file's name is made of the artifact's key, and nothing that a file says of itself decides what
//! it is taken for. Files come and go whole (`file`), so there are no locks, and no state but the
//! directory's own. Links are never followed.
//!
//! A use is noted in the file's access time, by `load` and, where the file system does so, by
//! reading. What `load_all` lists isn't used by that.
//!
//! Cost: `load` is one read of a file's end, `load_all` the same for each file. Where files exceed
//! the store's limit, the least recently used are deleted until a tenth of it is free; several
//! processes that store at once may exceed it until one of them looks again, which each does every
//! [`STORES_BETWEEN_LOOKS`] stores.

use super::{
    ArtifactKey, ArtifactManifest, ArtifactStore, StoreError, StoredArtifact,
    file::{self, ArtifactFile, is_abandoned, last_use},
    manifest::{file_name, is_artifact_name, key_of},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

/// Most bytes of files, unless said otherwise.
const DEFAULT_LIMIT: u64 = 8 << 30;

/// Stores of one process after which it looks at the whole directory's size again.
const STORES_BETWEEN_LOOKS: u64 = 256;

/// Artifacts in a directory. They outlive the process; several processes may share it.
#[derive(Debug)]
pub struct DirArtifactStore {
    directory: PathBuf,
    limit: u64,
    durable: bool,
    /// Bytes of files, as far as this process knows.
    bytes: AtomicU64,
    stores: AtomicU64,
}

/// A file of a store, and what it claims to be.
#[derive(Debug)]
pub struct StoreEntry {
    /// Where it is.
    pub path: PathBuf,
    /// Its key and its manifest, or why it can't be taken for an artifact.
    pub artifact: Result<(ArtifactKey, StoredArtifact), StoreError>,
}

impl DirArtifactStore {
    /// Opens the store in `directory`, which is made if it isn't there. What earlier processes
    /// began to write and didn't finish is deleted.
    ///
    /// Whoever may write to the directory can run code in the processes that load from it, so it
    /// must be this user's or root's, and not writable by everybody. Processes that share it should
    /// be of one build, on machines of one kind: each deletes the artifacts that it can't use.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it can't be made or read, [`StoreError::WorldWritable`],
    /// [`StoreError::ForeignOwner`].
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with_limit(directory, DEFAULT_LIMIT)
    }

    /// [`open`](Self::open) with another limit than 8 GiB for the bytes of all files; 0 is none.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_limit(
        directory: impl Into<PathBuf>,
        limit_bytes: u64,
    ) -> Result<Self, StoreError> {
        let store = Self {
            directory: directory.into(),
            limit: limit_bytes,
            durable: true,
            bytes: AtomicU64::new(0),
            stores: AtomicU64::new(0),
        };
        create_directory(&store.directory)?;
        for (name, path) in store.names()? {
            let is_left = fs::symlink_metadata(&path).is_ok_and(|file| is_abandoned(&name, &file));
            if is_left {
                remove(&path)?;
            }
        }
        store.bytes.store(store.used()?.iter().map(|used| used.bytes).sum(), Ordering::Relaxed);
        Ok(store)
    }

    /// The same store, whose files need not outlive a loss of power.
    pub(super) fn fleeting(self) -> Self {
        Self { durable: false, ..self }
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Number of files that are named like artifacts.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the directory can't be read.
    pub fn len(&self) -> Result<usize, StoreError> {
        Ok(self.names()?.iter().filter(|(name, _)| is_artifact_name(name)).count())
    }

    /// Whether there is none.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }

    /// The file of an artifact, whether it is there or not.
    pub fn path_of(&self, key: &ArtifactKey) -> PathBuf {
        self.directory.join(file_name(key))
    }

    /// All files that are named like artifacts, in order of their names, good and bad. The contents
    /// aren't looked at.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the directory can't be read.
    pub fn entries(&self) -> Result<Vec<StoreEntry>, StoreError> {
        let mut names: Vec<_> = self.names()?;
        names.retain(|(name, _)| is_artifact_name(name));
        names.sort_unstable();
        let entry = |(name, path): (String, PathBuf)| match read_entry(&name, &path) {
            Ok(None) => None,
            Ok(Some(artifact)) => Some(StoreEntry { path, artifact: Ok(artifact) }),
            Err(error) => Some(StoreEntry { path, artifact: Err(error) }),
        };
        Ok(names.into_iter().filter_map(entry).collect())
    }

    /// Deletes a file of [`entries`](Self::entries), whatever it is; a link itself, and not what it
    /// leads to.
    ///
    /// # Errors
    /// [`StoreError::Name`] for a file that isn't one of the store's directory,
    /// [`StoreError::Io`] if it can't be deleted.
    pub fn delete_entry(&self, entry: &StoreEntry) -> Result<(), StoreError> {
        let name = entry.path.file_name().and_then(|name| name.to_str());
        let is_own = name.is_some_and(is_artifact_name)
            && entry.path.parent() == Some(self.directory.as_path());
        if is_own {
            remove(&entry.path)
        } else {
            Err(StoreError::Name { path: entry.path.clone() })
        }
    }

    /// Names and paths of what is in the directory.
    fn names(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let unreadable = StoreError::io(&self.directory, "can't be listed");
        let list = || {
            let entries = fs::read_dir(&self.directory)?;
            let paths = entries.map(|entry| entry.map(|entry| (entry.file_name(), entry.path())));
            paths.collect::<io::Result<Vec<_>>>()
        };
        let names = list().map_err(unreadable)?.into_iter();
        // The store's own names are Unicode.
        Ok(names.filter_map(|(name, path)| Some((name.into_string().ok()?, path))).collect())
    }

    /// The artifacts' files, with what the limit goes by.
    fn used(&self) -> Result<Vec<Used>, StoreError> {
        let mut names = self.names()?;
        names.retain(|(name, _)| is_artifact_name(name));
        let used = |(_, path): (String, PathBuf)| {
            // One that was deleted meanwhile is none.
            let metadata = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
            Some(Used { at: last_use(&metadata), bytes: metadata.len(), path })
        };
        Ok(names.into_iter().filter_map(used).collect())
    }

    /// Deletes what was used least recently, if there is too much. The file at `kept` stays.
    fn keep_within_limit(&self, kept: &Path) -> Result<(), StoreError> {
        let stores = self.stores.fetch_add(1, Ordering::Relaxed) + 1;
        let seems_full = self.bytes.load(Ordering::Relaxed) > self.limit;
        if self.limit == 0 || !(seems_full || stores.is_multiple_of(STORES_BETWEEN_LOOKS)) {
            return Ok(());
        }
        let mut files = self.used()?;
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        if total > self.limit {
            files.sort_unstable_by_key(|file| file.at);
            let target = self.limit / 10 * 9;
            for file in files.iter().filter(|file| file.path != kept) {
                if total <= target {
                    break;
                }
                // What can't be deleted mustn't keep what can.
                match remove(&file.path) {
                    Ok(()) => total -= file.bytes,
                    Err(error) => tracing::debug!(%error, "a file beyond the limit stays"),
                }
            }
        }
        self.bytes.store(total, Ordering::Relaxed);
        Ok(())
    }
}

/// A file, as the limit sees it.
struct Used {
    at: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// What a file claims to be; `None` if there is none any more.
fn read_entry(
    name: &str,
    path: &Path,
) -> Result<Option<(ArtifactKey, StoredArtifact)>, StoreError> {
    let Some(mut file) = ArtifactFile::open(path)? else { return Ok(None) };
    let key = key_of(name).ok_or_else(|| StoreError::Name { path: path.to_owned() })?;
    let manifest = file.manifest()?;
    let stored = StoredArtifact { manifest, dylib_path: path.to_owned() };
    Ok(Some((key, stored)))
}

/// What stands for an artifact whose manifest can't be read: the whole file, so that who reads it
/// finds what is wrong.
fn without_manifest(key: &ArtifactKey, path: PathBuf, len: u64) -> StoredArtifact {
    let manifest = ArtifactManifest {
        artifact_key: key.clone(),
        symbol_name: String::new(),
        bytecode_len: 0,
        artifact_len: usize::try_from(len).unwrap_or(usize::MAX),
        created_at_unix_secs: 0,
        content_hash: [0; 32],
    };
    StoredArtifact { manifest, dylib_path: path }
}

impl ArtifactStore for DirArtifactStore {
    /// Everything in the store, good or damaged: whoever reads an artifact verifies it. What isn't
    /// a file, or isn't named after a key, is left out.
    fn load_all(&self) -> eyre::Result<Vec<(ArtifactKey, StoredArtifact)>> {
        let mut found = Vec::new();
        for StoreEntry { path, artifact } in self.entries()? {
            match artifact {
                Ok(entry) => found.push(entry),
                Err(error @ StoreError::Manifest { .. }) => {
                    let name = path.file_name().and_then(|name| name.to_str());
                    let len = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
                    tracing::debug!(%error, "an artifact without a manifest");
                    if let Some(key) = name.and_then(key_of) {
                        let stored = without_manifest(&key, path, len);
                        found.push((key, stored));
                    }
                }
                Err(error) => tracing::warn!(%error, "a file of the store is left alone"),
            }
        }
        Ok(found)
    }

    fn load(&self, key: &ArtifactKey) -> eyre::Result<Option<StoredArtifact>> {
        let path = self.path_of(key);
        let Some(mut file) = ArtifactFile::open(&path)? else { return Ok(None) };
        file.touch();
        match file.manifest() {
            Ok(manifest) => Ok(Some(StoredArtifact { manifest, dylib_path: path })),
            Err(StoreError::Manifest { .. }) => Ok(Some(without_manifest(key, path, file.len))),
            Err(error) => Err(error.into()),
        }
    }

    fn store(
        &self,
        key: &ArtifactKey,
        manifest: &ArtifactManifest,
        artifact: &[u8],
    ) -> eyre::Result<()> {
        if manifest.artifact_key != *key {
            return Err(StoreError::Mismatch { what: "its key" }.into());
        }
        if manifest.artifact_len != artifact.len() {
            return Err(StoreError::Mismatch { what: "its length" }.into());
        }
        let path = self.path_of(key);
        let bytes = file::write(&path, manifest, artifact, self.durable)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Err(error) = self.keep_within_limit(&path) {
            // The artifact is stored all the same.
            tracing::warn!(%error, "the store can't be kept within its limit");
        }
        Ok(())
    }

    fn delete(&self, key: &ArtifactKey) -> eyre::Result<()> {
        Ok(remove(&self.path_of(key))?)
    }

    /// Deletes all artifacts, and nothing else that may be in the directory. What can't be deleted
    /// keeps nothing else.
    ///
    /// # Errors
    /// [`StoreError::Io`], after everything else was deleted.
    fn clear(&self) -> eyre::Result<()> {
        let mut names = self.names()?;
        names.retain(|(name, path)| is_artifact_name(name) && !path.is_dir());
        let mut cleared = Ok(());
        for (_, path) in &names {
            cleared = remove(path).and(cleared);
        }
        if cleared.is_ok() {
            self.bytes.store(0, Ordering::Relaxed);
        }
        Ok(cleared?)
    }
}

/// Deletes a file; it is no error if it isn't there.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io(path, "can't be deleted")(error))
        }
        _ => Ok(()),
    }
}

/// Who may do everything anyway.
#[cfg(unix)]
const ROOT: u32 = 0;

/// Makes the directory, for this user alone, if it isn't there.
#[cfg(unix)]
fn create_directory(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let unusable = StoreError::io(path, "can't be used as a store");
    let metadata = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::metadata(path))
        .map_err(unusable)?;
    if metadata.mode() & 0o002 != 0 {
        return Err(StoreError::WorldWritable { path: path.to_owned() });
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user && owner != ROOT {
        return Err(StoreError::ForeignOwner { path: path.to_owned(), owner });
    }
    Ok(())
}

#[cfg(not(unix))]
fn create_directory(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(StoreError::io(path, "can't be used as a store"))
}
