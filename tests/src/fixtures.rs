//! Test data that isn't part of the project: state tests and real contracts.
//!
//! Its folder is `$CRANEVM_FIXTURES`, or `../shared/fixtures` from the workspace's root. Where
//! it is absent, [`find`] says so on the test output and the test does nothing.

use serde::Deserialize;
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// A contract of `contracts.jsonl.xz`.
#[derive(Clone, Debug, Deserialize)]
pub struct Contract {
    /// Its name.
    pub name: String,
    /// Its code in hex.
    pub bytecode: alloy_primitives::Bytes,
}

/// The workspace's root.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// The path of a fixture, or `None` after saying on standard error that `test` doesn't run and
/// why. Standard error rather than a captured print, so that it is seen in a passing run.
pub fn find(test: &str, file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CRANEVM_FIXTURES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| workspace_root().join("../shared/fixtures"));
    let path = folder.join(file);
    if path.is_file() {
        return Some(path);
    }
    let message = format!(
        "NOT RUN: {test}: no {} (set CRANEVM_FIXTURES to the folder that has {file})\n",
        path.display()
    );
    // `eprintln!` would be captured.
    let _ = io::Write::write_all(&mut io::stderr(), message.as_bytes());
    None
}

/// Unpacks a `.tar.xz` once under `target/` and returns the folder. The folder's name contains the
/// archive's size and time, so that a new archive is unpacked anew; it appears by one rename, so
/// that an interrupted run leaves no half of it.
///
/// # Errors
/// If the archive can't be read or the folder can't be written.
pub fn unpack(archive: &Path) -> io::Result<PathBuf> {
    // Tests of one process share the name of the partial folder.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let metadata = fs::metadata(archive)?;
    let modified = metadata.modified()?.duration_since(std::time::UNIX_EPOCH);
    let stamp = format!("{}-{}", metadata.len(), modified.map_or(0, |time| time.as_secs()));
    let name = archive.file_name().unwrap_or_default().to_string_lossy().replace(".tar.xz", "");
    let target = target_dir();
    let folder = target.join(format!("{name}-{stamp}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let partial = target.join(format!("{name}-{stamp}.partial-{}", std::process::id()));
    fs::create_dir_all(&partial)?;
    let reader = liblzma::read::XzDecoder::new(BufReader::new(File::open(archive)?));
    tar::Archive::new(reader).unpack(&partial)?;
    match fs::rename(&partial, &folder) {
        // Another process was quicker.
        Err(_) if folder.is_dir() => fs::remove_dir_all(&partial)?,
        result => result?,
    }
    Ok(folder)
}

/// A folder under cargo's target directory, which the path of a test's executable tells:
/// `<target>/<profile>/deps/<test>`. For an executable elsewhere, the workspace's `target`.
fn target_dir() -> PathBuf {
    let executable = std::env::current_exe().unwrap_or_default();
    let folders: Vec<&Path> = executable.ancestors().skip(1).take(3).collect();
    let target = match folders[..] {
        [deps, _, target] if deps.ends_with("deps") => target.to_owned(),
        _ => workspace_root().join("target"),
    };
    target.join("fixtures")
}

/// All files below a folder with an extension, sorted.
///
/// # Errors
/// If a folder can't be read.
pub fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads the contracts of a `.jsonl.xz`.
///
/// # Errors
/// If the file can't be read or a line isn't a contract.
pub fn contracts(path: &Path) -> io::Result<Vec<Contract>> {
    let reader = BufReader::new(liblzma::read::XzDecoder::new(File::open(path)?));
    reader.lines().map(|line| serde_json::from_str(&line?).map_err(io::Error::from)).collect()
}
