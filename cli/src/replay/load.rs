//! Blocks from files and directories.
//!
//! Files are JSON, plain or compressed by xz. Codes that a block doesn't bring itself come from
//! `codes.json` or `codes.json.xz` in its directory, which is read once.

use super::{
    block::ReplayBlock,
    format::{BlockFile, CodeJson},
    state::Codes,
    synthetic,
};
use crate::{
    CommandError, InputError,
    fixture::json_error,
    read::{self, MAX_FILE_BYTES},
};
use alloy_primitives::{B256, keccak256};
use liblzma::read::XzDecoder;
use revm::bytecode::Bytecode;
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    fs,
    io::BufReader,
    path::{Path, PathBuf},
};

/// Files of codes, in the order in which they are looked for.
const CODE_FILES: [&str; 2] = ["codes.json.xz", "codes.json"];

type RawCodes = HashMap<B256, CodeJson>;

/// The files that an argument means: itself, or those of a directory that end in `.json` or
/// `.json.xz`, but for codes.
///
/// # Errors
/// A path that can't be read, or a directory without such a file.
fn files(path: &Path) -> Result<Vec<PathBuf>, InputError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let unreadable = |error: std::io::Error| InputError::io(path, &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_block = name.ends_with(".json") || name.ends_with(".json.xz");
        if is_block && !CODE_FILES.contains(&&*name) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(InputError::new(path.display(), "has no .json or .json.xz file"));
    }
    found.sort();
    Ok(found)
}

/// The blocks of files and directories, or, without any, the shipped ones; in order of their
/// numbers.
///
/// # Errors
/// A path that can't be read or isn't blocks; two blocks of one name, for that is how they are told
/// apart.
pub fn blocks(paths: &[PathBuf]) -> Result<Vec<ReplayBlock>, CommandError> {
    let mut loader = Loader::default();
    let mut blocks = Vec::new();
    if paths.is_empty() {
        let shipped =
            synthetic::blocks().map_err(|error| CommandError::Failed(error.to_string()))?;
        for (name, file) in shipped {
            blocks.push(loader.block(Path::new(name), name, &file)?);
        }
    }
    for path in paths {
        for file in files(path)? {
            blocks.push(loader.load(&file)?);
        }
    }
    let mut names = BTreeSet::new();
    if let Some(block) = blocks.iter().find(|block| !names.insert(&block.name)) {
        return Err(InputError::new(&block.name, "there are two blocks of this name").into());
    }
    blocks.sort_by_key(|block| block.number);
    Ok(blocks)
}

/// Reads blocks, and keeps codes from one to the next.
#[derive(Debug, Default)]
pub struct Loader {
    /// Of each directory, as hex was read.
    raw: BTreeMap<PathBuf, RawCodes>,
    /// Those that a block has had, checked and analysed.
    codes: Codes,
}

impl Loader {
    /// Reads the block of a file.
    ///
    /// # Errors
    /// A file that can't be read or isn't a block, a code that isn't there or has another hash.
    pub fn load(&mut self, path: &Path) -> Result<ReplayBlock, InputError> {
        let file = parse::<BlockFile>(path)?;
        let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(".xz").unwrap_or(&name);
        let name = name.strip_suffix(".json").unwrap_or(name);
        let wanted: Vec<B256> = (file.accounts.values())
            .filter_map(|account| account.code_hash)
            .filter(|hash| !self.codes.contains_key(hash) && !file.codes.contains_key(hash))
            .collect();
        if !wanted.is_empty() {
            let raw = match self.raw.entry(directory) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let codes = read_codes(entry.key())?;
                    entry.insert(codes)
                }
            };
            let found = wanted.iter().filter_map(|hash| Some((*hash, raw.get(hash)?)));
            add(&mut self.codes, path, found)?;
        }
        self.block(path, name, &file)
    }

    /// Makes a block of a file that is in memory, with its own codes. `place` is what errors call
    /// it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn block(
        &mut self,
        place: &Path,
        name: &str,
        file: &BlockFile,
    ) -> Result<ReplayBlock, InputError> {
        add(&mut self.codes, place, file.codes.iter().map(|(hash, code)| (*hash, code)))?;
        ReplayBlock::new(name.into(), file, &self.codes)
            .map_err(|error| InputError::new(place.display(), error))
    }
}

/// Adds codes, of which the hashes are checked.
fn add<'a>(
    codes: &mut Codes,
    place: &Path,
    new: impl Iterator<Item = (B256, &'a CodeJson)>,
) -> Result<(), InputError> {
    for (hash, CodeJson(code)) in new {
        let actual = keccak256(code);
        if actual != hash {
            let problem = format!("the code of hash {hash} has the hash {actual}");
            return Err(InputError::new(place.display(), problem));
        }
        codes.entry(hash).or_insert_with(|| {
            Bytecode::new_raw_checked(code.clone())
                .unwrap_or_else(|_| Bytecode::new_legacy(code.clone()))
        });
    }
    Ok(())
}

fn read_codes(directory: &Path) -> Result<RawCodes, InputError> {
    let path = CODE_FILES.map(|name| directory.join(name)).into_iter().find(|path| path.exists());
    path.map_or_else(|| Ok(RawCodes::default()), |path| parse(&path))
}

pub(super) fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, InputError> {
    let text = text(path)?;
    let place = path.display().to_string();
    let mut json = serde_json::Deserializer::from_slice(&text);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| json_error(&place, &error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| json_error(&place, ".", &error))?;
    Ok(value)
}

fn text(path: &Path) -> Result<Vec<u8>, InputError> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return read::file(path);
    }
    let unreadable = |error: std::io::Error| InputError::io(path, &error);
    let file = BufReader::new(fs::File::open(path).map_err(unreadable)?);
    read::to_end(XzDecoder::new_multi_decoder(file), MAX_FILE_BYTES).map_err(unreadable)
}
