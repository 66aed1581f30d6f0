//! `RuntimeConfig::dump_dir`: what is written, and that nothing depends on it.

use common::{SPEC, request, summing};
use cranevm::{
    OptimizationLevel,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

mod common;

const FILES: [&str; 9] = [
    "bytecode.bin",
    "bytecode.txt",
    "clif.txt",
    "clif_optimized.txt",
    "code.asm",
    "graph.dot",
    "graph.svg",
    "ir.txt",
    "timings.txt",
];

/// An empty folder of this test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cranevm-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn backend(dump_dir: &Path, level: OptimizationLevel) -> JitBackend {
    let tuning = RuntimeTuning { jit_opt_level: level, ..Default::default() };
    let dump_dir = Some(dump_dir.to_owned());
    JitBackend::new(RuntimeConfig { enabled: true, dump_dir, tuning, ..Default::default() })
        .unwrap()
}

#[test]
fn a_compilation_is_dumped_under_fork_and_hash() {
    let folder = Folder::new("dumped");
    for level in [OptimizationLevel::Default, OptimizationLevel::Aggressive] {
        let request = request(&summing());
        let place = folder.0.join(format!("{SPEC:?}")).join(request.key.code_hash.to_string());
        backend(&folder.0, level).compile_jit_sync(request).unwrap();
        let mut names: Vec<String> = fs::read_dir(&place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, FILES);
        let text = |name: &str| fs::read_to_string(place.join(name)).unwrap();
        assert_eq!(fs::read(place.join("bytecode.bin")).unwrap(), summing());
        assert!(text("bytecode.txt").contains("0x0004  JUMPDEST\n"));
        assert!(text("ir.txt").contains("= ADD v"));
        assert!(text("clif.txt").contains("iadd"));
        assert!(text("clif_optimized.txt").contains("iadd"));
        assert!(text("code.asm").contains("; pc 0x0007 ADD\n"));
        assert!(text("graph.dot").contains("b1 -> b1 [color=blue];\n"));
        assert!(text("graph.svg").trim_end().ends_with("</svg>"));
        assert!(text("timings.txt").contains(&format!("{level:?}")));
    }
}

/// Of stencils there is no IR.
#[test]
fn a_compilation_of_stencils_is_dumped() {
    let folder = Folder::new("dumped-stencils");
    let request = request(&summing());
    let place = folder.0.join(format!("{SPEC:?}")).join(request.key.code_hash.to_string());
    backend(&folder.0, OptimizationLevel::None).compile_jit_sync(request).unwrap();
    let mut names: Vec<String> = fs::read_dir(&place)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["bytecode.bin", "bytecode.txt", "code.asm", "timings.txt"]);
    let code = fs::read_to_string(place.join("code.asm")).unwrap();
    assert!(code.contains("; pc 0x0004 JUMPDEST\n"), "{code}");
}

#[test]
fn what_cannot_be_written_fails_no_compilation() {
    let folder = Folder::new("unwritable");
    // A file where the folder would be.
    let file = folder.0.join("file");
    fs::write(&file, "in the way").unwrap();
    let backend = backend(&file, OptimizationLevel::None);
    backend.compile_jit_sync(request(&summing())).unwrap();
    let stats = backend.stats();
    assert_eq!((stats.compilations_succeeded, stats.compilations_failed), (1, 0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "in the way");
}

#[test]
fn code_that_is_refused_leaves_the_reason() {
    let folder = Folder::new("refused");
    // More entry points than can be indexed.
    let code = vec![0x5b; 70_000];
    let backend = JitBackend::new(RuntimeConfig {
        dump_dir: Some(folder.0.clone()),
        blocking: true,
        tuning: RuntimeTuning { jit_max_bytecode_len: 0, ..Default::default() },
        ..Default::default()
    })
    .unwrap();
    let request = request(&code);
    let place = folder.0.join(format!("{SPEC:?}")).join(request.key.code_hash.to_string());
    assert!(backend.compile_jit_sync(request).is_err());
    let reason = fs::read_to_string(place.join("error.txt")).unwrap();
    assert!(reason.contains("entry points"), "{reason}");
}

#[test]
fn files_of_large_code_are_bounded() {
    let folder = Folder::new("large");
    // CALLDATASIZE, and its square again and again: the IR's text alone would be some 10 MiB.
    let code = [&[0x36][..], &[0x80, 0x02].repeat(12 * 1024 - 1)].concat();
    let request = request(&code);
    let place = folder.0.join(format!("{SPEC:?}")).join(request.key.code_hash.to_string());
    backend(&folder.0, OptimizationLevel::Default).compile_jit_sync(request).unwrap();
    let mut cut_off = 0;
    for name in FILES {
        let contents = fs::read(place.join(name)).unwrap();
        assert!(contents.len() < (8 << 20) + 100, "{name}: {} bytes", contents.len());
        cut_off += usize::from(contents.ends_with(b"[cut off here: the file would be too long]\n"));
    }
    assert!(cut_off > 0);
}
