//! Nothing in the crates is for one machine only: what is compiled on some has a counterpart on the
//! others.
//!
//! Code that another machine's build leaves out is found by its `cfg`. A predicate on the
//! architecture or the system must have its negation, or the other architecture's, in the same
//! file, or be listed here with the reason why nothing is missing. `cfg!` in an expression has both
//! branches, so it isn't looked at.

use cranevm_tests::fixtures::{files, workspace_root};
use std::fs;

/// (predicate, what must be in the same file, as text).
const COUNTERPARTS: [(&str, &[&str]); 4] = [
    ("target_arch = \"x86_64\"", &["target_arch = \"aarch64\"", "not(target_arch = \"x86_64\")"]),
    ("target_arch = \"aarch64\"", &["target_arch = \"x86_64\"", "not(target_arch = \"aarch64\")"]),
    (
        "target_os = \"linux\"",
        &["not(target_os = \"linux\")", "target_os = \"macos\"", "#[cfg(not(any(target_os"],
    ),
    ("unix", &["not(unix)"]),
];

/// (file, predicate, why nothing is missing).
const EXPLAINED: [(&str, &str, &str); 12] = [
    ("codegen/src/abi/mod.rs", "x86_64", "tests with machine code written by hand"),
    ("codegen/src/builtins/hash.rs", "x86_64", "a quicker permutation, in front of the portable"),
    ("codegen/src/code_memory/fork_guard.rs", "linux", "a page that is wiped, or memory like any"),
    ("codegen/src/code_memory/os/caches.rs", "aarch64", "caches that programs clean, and others"),
    ("codegen/src/code_memory/os/caches.rs", "linux", "as above; macOS does it by itself"),
    ("codegen/src/code_memory/os/mapping.rs", "linux", "for what Linux alone has"),
    ("codegen/src/code_memory/os/mod.rs", "aarch64", "macOS on aarch64, and its negation"),
    ("codegen/src/code_memory/tests.rs", "linux", "reads /proc"),
    ("codegen/src/code_memory/unwind.rs", "linux", "GCC's unwinder is told, others aren't"),
    ("runtime/src/artifacts/read.rs", "unix", "an option for opening files that others don't have"),
    ("runtime/src/barrier.rs", "linux", "a call that has all threads pass a fence, or fences"),
    ("runtime/src/helper/process.rs", "linux", "ends a helper with its parent thread"),
];

/// The attributes of a source text, each from `#[cfg` to its closing bracket.
fn attributes(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("#[cfg").map(|(start, _)| {
        let rest = &text[start..];
        &rest[..rest.find(']').map_or(rest.len(), |end| end + 1)]
    })
}

/// Predicates of a source text without counterpart.
fn unpaired(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in attributes(text) {
        for (predicate, counterparts) in COUNTERPARTS {
            let is_explained =
                EXPLAINED.iter().any(|(known, what, _)| *known == file && predicate.contains(what));
            if attribute.contains(predicate)
                && !is_explained
                && !counterparts.iter().any(|counterpart| text.contains(counterpart))
            {
                found.push(format!("{file}: {attribute}: no counterpart of {predicate}"));
            }
        }
    }
    found
}

#[test]
fn conditional_code_has_a_counterpart() {
    let root = workspace_root();
    let mut found = Vec::new();
    let mut attributes_seen = 0;
    for folder in ["passes/src", "codegen/src", "runtime/src", "cli/src"] {
        for path in files(&root.join(folder), "rs").expect("the workspace's sources") {
            let text = fs::read_to_string(&path).expect("a source file");
            let file = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            attributes_seen += attributes(&text).filter(|text| text.contains("target_")).count();
            found.extend(unpaired(&file, &text));
        }
    }
    assert!(attributes_seen >= 8, "{attributes_seen}: the sources weren't found");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_is_explained_is_there() {
    for (file, predicate, why) in EXPLAINED {
        let text = fs::read_to_string(workspace_root().join(file)).expect(file);
        let is_there = attributes(&text).any(|attribute| attribute.contains(predicate));
        assert!(is_there, "{file} has no cfg of {predicate} any more ({why})");
    }
}

#[test]
fn one_sided_code_is_found() {
    let one_sided = "#[cfg(target_arch = \"x86_64\")]\nfn fast() {}";
    assert_eq!(unpaired("a.rs", one_sided).len(), 1);
    let two_sided = format!("{one_sided}\n#[cfg(target_arch = \"aarch64\")]\nfn fast() {{}}");
    assert_eq!(unpaired("a.rs", &two_sided), Vec::<String>::new());
    assert_eq!(unpaired("a.rs", "#[cfg(unix)]\nuse libc;").len(), 1);
}
