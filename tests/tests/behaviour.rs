//! `docs/behaviour.md` is whole: each field, method, event and counter that clients see has a row
//! there, and each row names tests that exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Name, five ways to run, and the tests; or a part of something, what it is, and the tests.
const CELLS: [usize; 2] = [7, 3];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A row of the page: what it is of, and the tests that hold it.
struct Row {
    section: String,
    name: String,
    tests: Vec<String>,
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn rows() -> Vec<Row> {
    let page = read("docs/behaviour.md");
    let mut rows = Vec::new();
    let mut section = String::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_owned();
        }
        let is_row = line.starts_with("| ") && !line.contains("Held by") && !line.contains("---");
        if !is_row {
            continue;
        }
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert!(CELLS.contains(&cells.len()), "{line}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
        let tests: Vec<_> = quoted(cells[cells.len() - 1]).collect();
        assert!(!tests.is_empty(), "nothing holds it: {line}");
        let is_part = cells.len() == CELLS[1];
        let section = if is_part { "Parts".into() } else { section.clone() };
        rows.push(Row { section, name: cells[0].replace('`', ""), tests });
    }
    rows
}

/// Rust sources below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|name| name == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The name of a function without arguments that a line begins.
fn function(line: &str) -> Option<&str> {
    line.trim_start()
        .strip_prefix("pub(crate) ")
        .unwrap_or(line.trim_start())
        .strip_prefix("fn ")?
        .split_once("()")
        .map(|(name, _)| name)
}

/// All tests of the workspace. Those with their own `main` list plain functions.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["runtime/src", "runtime/tests", "codegen", "tests", "cli/tests"] {
        sources(&root().join(folder), &mut files);
    }
    let mut names = BTreeSet::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let has_main =
            path.iter().any(|part| part.to_str().is_some_and(|p| p.starts_with("helper")));
        let lines: Vec<_> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let before = &lines[index.saturating_sub(3)..index];
            let is_test = before.iter().any(|line| line.trim() == "#[test]");
            names.extend(function(line).filter(|_| is_test || has_main).map(str::to_owned));
        }
    }
    names
}

/// Names of the public fields of a structure.
fn fields(source: &str, structure: &str) -> Vec<String> {
    let (_, body) = source.split_once(&format!("pub struct {structure} {{")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let fields = body.lines().filter_map(|line| line.strip_prefix("    pub "));
    fields.filter_map(|field| Some(field.split_once(':')?.0.to_owned())).collect()
}

/// Names of the public methods of a source file, but for the hidden ones.
fn methods(source: &str) -> Vec<String> {
    let lines: Vec<_> = source.lines().collect();
    let mut names = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(line) = line.strip_prefix("    pub ") else { continue };
        let Some((_, name)) = line.split_once("fn ") else { continue };
        if lines[index.saturating_sub(1)].trim() != "#[doc(hidden)]" {
            let end = name.find(['(', '<']).unwrap();
            names.push(name[..end].to_owned());
        }
    }
    names
}

#[test]
fn every_test_that_is_named_exists() {
    let tests = tests();
    for row in rows() {
        for test in row.tests {
            assert!(tests.contains(&test), "{}: there is no test `{test}`", row.name);
        }
    }
}

#[test]
fn everything_that_clients_see_has_a_row() {
    let mut described = BTreeMap::<String, BTreeSet<String>>::new();
    for row in rows() {
        let is_new = described.entry(row.section).or_default().insert(row.name.clone());
        assert!(is_new, "{} has two rows", row.name);
    }
    let config = read("runtime/src/config.rs");
    let handle = [read("runtime/src/backend.rs"), read("runtime/src/control.rs")];
    for (section, wanted) in [
        ("RuntimeConfig", fields(&config, "RuntimeConfig")),
        ("RuntimeTuning", fields(&read("runtime/src/tuning.rs"), "RuntimeTuning")),
        ("Events", fields(&config, "CompilationEvent")),
        ("Counters", fields(&read("runtime/src/stats.rs"), "RuntimeStatsSnapshot")),
        ("Methods", handle.iter().flat_map(|source| methods(source)).collect()),
    ] {
        assert!(wanted.len() > 5, "{section}: {wanted:?}");
        let wanted: BTreeSet<_> = wanted.into_iter().collect();
        assert_eq!(described.get(section), Some(&wanted), "{section}");
    }
}
