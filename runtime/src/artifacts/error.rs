//! Why a store of this crate can't do what it is asked.

use std::{
    io,
    path::{Path, PathBuf},
};

/// What went wrong in a [`DirArtifactStore`](super::DirArtifactStore).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused an operation.
    #[error("{path}: {what}: {source}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What wasn't possible.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The directory can be written by everybody: who writes there can run code here.
    #[error(
        "{path}: everybody may write to this directory, and so run code in this process; take the \
         right away (chmod o-w)",
        path = .path.display()
    )]
    WorldWritable {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is another user's, who could have code run in this process.
    #[error(
        "{path}: belongs to user {owner}, whose files would be run here; use a directory of your \
         own",
        path = .path.display()
    )]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// The number of the user whose it is.
        owner: u32,
    },
    /// A symbolic link, a directory or the like where a file is to be.
    #[error("{path}: not a regular file", path = .path.display())]
    NotAFile {
        /// The file's path.
        path: PathBuf,
    },
    /// The file's name isn't one of this store's.
    #[error("{path}: not a name that this store gives", path = .path.display())]
    Name {
        /// The file's path.
        path: PathBuf,
    },
    /// The file doesn't end in a manifest.
    #[error("{path}: no manifest at its end: {problem}", path = .path.display())]
    Manifest {
        /// The file's path.
        path: PathBuf,
        /// What is there instead.
        problem: String,
    },
    /// A manifest that doesn't describe the artifact it came with.
    #[error("the manifest isn't the artifact's: {what}")]
    Mismatch {
        /// What differs.
        what: &'static str,
    },
}

impl StoreError {
    /// A short name of the reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::WorldWritable { .. } => "world-writable",
            Self::ForeignOwner { .. } => "foreign-owner",
            Self::NotAFile { .. } => "not-a-file",
            Self::Name { .. } => "name",
            Self::Manifest { .. } => "manifest",
            Self::Mismatch { .. } => "mismatch",
        }
    }

    /// Makes an error of what the system said of `path`.
    pub(super) fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), what, source }
    }
}
