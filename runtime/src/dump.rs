//! Files for people of each compilation, under
//! [`RuntimeConfig::dump_dir`](crate::runtime::RuntimeConfig::dump_dir).
//!
//! The files of a contract are made by compiling it once more after its program is published, on
//! the thread that compiled it: so dumps delay later compilations, and of those who wait for this
//! one only the caller that compiled it by itself. It finds the files when its call returns, which
//! is what it asked for dumps for. A contract that is compiled again, at another level or after a
//! clear, replaces its files. Whatever goes wrong is logged and has no further effect. Nothing is
//! ever deleted.

use crate::{
    config::RuntimeConfig,
    error::CompileFailure,
    helper::{Client, Helpers, Work},
    locks::lock,
    lookup::RuntimeCacheKey,
    panics::contain_panic,
};
use cranevm_codegen::{
    Compiler, CompilerOptions,
    dump::{DumpFile, dump},
    on_deep_stack,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// Writes dumps into a directory.
#[derive(Debug)]
pub(crate) struct Dumper {
    directory: PathBuf,
    /// One dump at a time: two of one contract would mix their files.
    turn: Mutex<()>,
}

impl Dumper {
    /// A dumper, if the configuration names a directory.
    pub(crate) fn new(config: &RuntimeConfig) -> Option<Self> {
        let directory = config.dump_dir.clone()?;
        Some(Self { directory, turn: Mutex::default() })
    }

    /// Writes the files of a contract, here or in a helper, or logs why not.
    pub(crate) fn dump(&self, work: &Work<'_>, helpers: Option<(&Helpers, Client)>) {
        let _turn = lock(&self.turn);
        let Work { key, options, code } = *work;
        let written = match helpers {
            None => write_files(&self.directory, key, code, options),
            Some((helpers, client)) => helpers.dump(work, client).map_err(DumpError::Compilation),
        };
        let RuntimeCacheKey { code_hash, spec_id } = key;
        match written {
            Ok(()) => tracing::debug!(%code_hash, ?spec_id, "dumped"),
            Err(error) => tracing::warn!(%code_hash, ?spec_id, %error, "no dump"),
        }
    }
}

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DumpError {
    /// There is nothing to write.
    #[error(transparent)]
    Compilation(#[from] CompileFailure),
    /// They can't be written.
    #[error("{}: {problem}", .folder.display())]
    Files {
        /// Where to.
        folder: PathBuf,
        /// What the system said.
        problem: io::Error,
    },
}

/// Compiles `code`, and writes what that gives to files below `directory`.
pub(crate) fn write_files(
    directory: &Path,
    key: RuntimeCacheKey,
    code: &[u8],
    options: CompilerOptions,
) -> Result<(), DumpError> {
    let RuntimeCacheKey { code_hash, spec_id } = key;
    let folder = directory.join(format!("{spec_id:?}")).join(code_hash.to_string());
    let files = contain_panic(|| {
        let options = CompilerOptions { predict_jumps: true, ..options };
        // Who dumps may be a caller with a small stack.
        let dumped = on_deep_stack(|| Ok(dump(&mut Compiler::new(options)?, code, spec_id)));
        dumped?.map_err(CompileFailure::Compiler)
    })?;
    write(&folder, &files).map_err(|problem| DumpError::Files { folder, problem })
}

fn write(folder: &Path, files: &[DumpFile]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    files.iter().try_for_each(|file| fs::write(folder.join(file.name), &file.contents))
}
