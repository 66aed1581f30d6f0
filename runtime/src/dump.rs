//! Files for people of each compilation, under
//! [`RuntimeConfig::dump_dir`](crate::runtime::RuntimeConfig::dump_dir).
//!
//! The files of a contract are made by compiling it once more after its program is published, on
//! the thread that compiled it: so dumps delay later compilations, and nobody who waits for this
//! one. A contract that is compiled again, at another level or after a clear, replaces its files.
//! Whatever goes wrong is logged and has no further effect. Nothing is ever deleted.

use crate::{
    compiler_pool::{contain_panic, lock},
    config::RuntimeConfig,
    error::CompileFailure,
    lookup::RuntimeCacheKey,
};
use cranevm_codegen::{
    Compiler, CompilerOptions,
    dump::{DumpFile, dump},
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

    /// Writes the files of a contract, or logs why not.
    pub(crate) fn dump(&self, key: RuntimeCacheKey, code: &[u8], options: CompilerOptions) {
        let _turn = lock(&self.turn);
        let RuntimeCacheKey { code_hash, spec_id } = key;
        let folder = self.directory.join(format!("{spec_id:?}")).join(code_hash.to_string());
        let files = contain_panic(|| {
            let mut compiler = Compiler::new(CompilerOptions { predict_jumps: true, ..options })?;
            Ok::<_, CompileFailure>(dump(&mut compiler, code, spec_id))
        });
        let folder_name = folder.display();
        match files.map(|files| write(&folder, &files)) {
            Ok(Ok(())) => tracing::debug!(%code_hash, ?spec_id, %folder_name, "dumped"),
            Ok(Err(error)) => {
                tracing::warn!(%code_hash, ?spec_id, %folder_name, %error, "no dump: not writable");
            }
            Err(failure) => tracing::warn!(%code_hash, ?spec_id, %failure, "no dump"),
        }
    }
}

fn write(folder: &Path, files: &[DumpFile]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    files.iter().try_for_each(|file| fs::write(folder.join(file.name), &file.contents))
}
