//! Where state tests come from: files, directories and `.tar.xz` archives.

use crate::{
    InputError,
    read::{self, MAX_FILE_BYTES},
};
use liblzma::read::XzDecoder;
use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// A file of state tests.
#[derive(Debug)]
pub(super) enum TestFile {
    /// To be read by whoever runs it.
    OnDisk(PathBuf),
    /// From an archive.
    InMemory { name: String, text: Vec<u8> },
}

impl TestFile {
    pub(super) fn name(&self) -> String {
        match self {
            Self::OnDisk(path) => path.display().to_string(),
            Self::InMemory { name, .. } => name.clone(),
        }
    }

    pub(super) fn into_text(self) -> Result<Vec<u8>, InputError> {
        match self {
            Self::OnDisk(path) => read::file(&path),
            Self::InMemory { text, .. } => Ok(text),
        }
    }
}

/// Calls `each` with the test files of `path`, in a fixed order. A file is one; of a directory,
/// all `.json` files below it; of an archive too.
///
/// `each` returns whether to go on.
pub(super) fn for_each_file(
    path: &Path,
    each: &mut dyn FnMut(TestFile) -> bool,
) -> Result<(), InputError> {
    if path.is_dir() {
        return walk(path, each);
    }
    if is_archive(path) {
        return read_archive(path, each);
    }
    // Opened here so that a name that is mistyped is an error of the command line.
    File::open(path).map_err(|error| InputError::io(path, &error))?;
    each(TestFile::OnDisk(path.to_path_buf()));
    Ok(())
}

/// The number of files that [`for_each_file`] will give, where it is known without reading.
pub(super) fn count_files(path: &Path) -> Option<usize> {
    if is_archive(path) {
        return None;
    }
    let mut count = 0;
    for_each_file(path, &mut |_| {
        count += 1;
        true
    })
    .ok()
    .map(|()| count)
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
    name.is_some_and(|name| name.ends_with(".tar.xz") || name.ends_with(".txz"))
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn walk(path: &Path, each: &mut dyn FnMut(TestFile) -> bool) -> Result<(), InputError> {
    let mut found = false;
    for entry in WalkDir::new(path).sort_by_file_name() {
        let entry = entry.map_err(|error| InputError::new(path.display(), error))?;
        if entry.file_type().is_file() && is_json(entry.path()) {
            found = true;
            if !each(TestFile::OnDisk(entry.into_path())) {
                break;
            }
        }
    }
    if found { Ok(()) } else { Err(InputError::new(path.display(), "has no .json file")) }
}

fn read_archive(path: &Path, each: &mut dyn FnMut(TestFile) -> bool) -> Result<(), InputError> {
    let unreadable = |error: io::Error| InputError::io(path, &error);
    let file = File::open(path).map_err(unreadable)?;
    let mut archive = tar::Archive::new(XzDecoder::new_multi_decoder(BufReader::new(file)));
    for entry in archive.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let inner = entry.path().map_err(unreadable)?.into_owned();
        if !entry.header().entry_type().is_file() || !is_json(&inner) {
            continue;
        }
        let name = format!("{}:{}", path.display(), inner.display());
        let text = read::to_end(entry, MAX_FILE_BYTES)
            .map_err(|error| InputError::io(Path::new(&name), &error))?;
        if !each(TestFile::InMemory { name, text }) {
            break;
        }
    }
    Ok(())
}
