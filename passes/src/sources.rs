//! A hash of this crate's sources, so that stored code of an older compiler is told apart.
//!
//! Versions change with releases; between two of them a defect may be mended whose traces are in
//! stored code. The hash is computed while this crate is compiled, without a build script, from a
//! list of all files, which a test compares with the directory.

/// Defines `HASH`, a hash of the files, and for tests `FILES`, their names.
#[doc(hidden)]
#[macro_export]
macro_rules! hash_sources {
    ($($file:literal,)*) => {
        /// Hash of this crate's sources.
        pub const HASH: u64 = $crate::sources::hash_files(&[$(include_bytes!($file),)*]);

        /// The files hashed.
        #[cfg(test)]
        const FILES: &[&str] = &[$($file,)*];

        #[cfg(test)]
        mod tests {
            use std::{ffi::OsStr, fs, path::Path};

            fn sources(directory: &Path, found: &mut Vec<String>) {
                for entry in fs::read_dir(directory).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        sources(&path, found);
                    } else if path.extension() == Some(OsStr::new("rs")) {
                        found.push(path.to_str().unwrap().to_owned());
                    }
                }
            }

            #[test]
            fn all_sources_are_hashed() {
                let root = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
                let mut found = Vec::new();
                sources(Path::new(root), &mut found);
                let mut names: Vec<_> =
                    found.iter().map(|path| path.strip_prefix(root).unwrap()).collect();
                names.sort_unstable();
                assert_eq!(names, super::FILES, "the list of files in sources.rs is out of date");
            }
        }
    };
}

/// A hash of all bytes of all files, eight at a time: the Rust compiler bounds how long it computes
/// while it compiles.
#[doc(hidden)]
pub const fn hash_files(files: &[&[u8]]) -> u64 {
    let mut hash = 0;
    let mut file = 0;
    while file < files.len() {
        let (words, rest) = files[file].as_chunks::<8>();
        let mut at = 0;
        while at < words.len() {
            hash = add_word(hash, u64::from_le_bytes(words[at]));
            at += 1;
        }
        at = 0;
        while at < rest.len() {
            hash = add_word(hash, rest[at] as u64);
            at += 1;
        }
        hash = add_word(hash, files[file].len() as u64);
        file += 1;
    }
    hash
}

/// Each step is a bijection of the hash so far, so two lists that differ in one word differ.
const fn add_word(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

hash_sources! {
    "analysis/control_flow.rs",
    "analysis/failure.rs",
    "analysis/head_plans.rs",
    "analysis/mod.rs",
    "analysis/references.rs",
    "analysis/regions.rs",
    "analysis/resolve_jumps.rs",
    "analysis/weight.rs",
    "chains.rs",
    "chunks.rs",
    "decode.rs",
    "ir/entities.rs",
    "ir/evaluate.rs",
    "ir/implementation.rs",
    "ir/mod.rs",
    "ir/opcode.rs",
    "ir/opcode/overrides.rs",
    "ir/program.rs",
    "ir/program/tests.rs",
    "ir/text.rs",
    "ir/text/parse.rs",
    "ir/text/print.rs",
    "ir/verify.rs",
    "ir/verify/bounds.rs",
    "ir/verify/charges.rs",
    "ir/verify/dataflow.rs",
    "ir/verify/edges.rs",
    "ir/verify/heights.rs",
    "ir/verify/meaning.rs",
    "ir/verify/meaning/finish.rs",
    "ir/verify/meaning/machine.rs",
    "ir/verify/meaning/tests.rs",
    "ir/verify/meaning/whole.rs",
    "ir/verify/opcodes.rs",
    "ir/verify/reach.rs",
    "ir/verify/source.rs",
    "ir/verify/tests.rs",
    "ir/verify/units.rs",
    "ir/width.rs",
    "lib.rs",
    "pass_set.rs",
    "pipeline.rs",
    "sections/gas.rs",
    "sections/mod.rs",
    "sections/stack.rs",
    "sources.rs",
    "timing.rs",
    "transform/dedup.rs",
    "transform/lift_stack.rs",
    "transform/lift_stack/memory_words.rs",
    "transform/lift_stack/symbolic_stack.rs",
    "transform/mod.rs",
    "transform/remove_unused.rs",
    "transform/simplify.rs",
    "transform/simplify/rules.rs",
    "transform/thread_jumps.rs",
    "transform/thread_jumps/tests.rs",
}
