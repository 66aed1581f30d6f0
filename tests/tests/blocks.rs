//! Real blocks: each comes to what its header says, in the interpreter and natively.
//!
//! The blocks aren't part of the project: see [`cranevm_tests::fixtures`] for where they are
//! looked for. Each is executed once with all that it calls compiled, at the quickest level, and
//! once with the runtime's defaults, which compile meanwhile.

use cranevm::OptimizationLevel;
use cranevm_cli::replay::{NativeEngine, Policy, Subject, blocks, differences, header_differences};
use cranevm_tests::{fixtures, parallel};

/// Blocks of the fixtures.
const BLOCKS: usize = 33;

#[test]
fn real_blocks_are_as_their_headers_say() {
    let Some(codes) =
        fixtures::find("real_blocks_are_as_their_headers_say", "blocks/codes.json.xz")
    else {
        return;
    };
    let blocks = blocks(&[codes.parent().unwrap().into()]).unwrap();
    assert_eq!(blocks.len(), BLOCKS);
    let engine = |policy| NativeEngine { policy, opt_level: OptimizationLevel::None };
    let native = engine(Policy::Blocking).start().unwrap();
    let defaults = engine(Policy::Background).start().unwrap();
    let check = |(): &mut (), index: usize| {
        let block = &blocks[index];
        let expected = Subject::Interpreter.run(block, &mut || ()).unwrap();
        let mut lines = header_differences(block, &expected);
        for backend in [&native, &defaults] {
            let got = Subject::Native(backend).run(block, &mut || ()).unwrap();
            lines.extend(differences(&expected, &got));
        }
        assert!(lines.is_empty(), "block {}: {}", block.name, lines.join("\n"));
    };
    parallel::for_each(blocks.len(), || (), check);
    let stats = native.stats();
    assert_eq!(stats.compilations_failed, 0);
    assert!(stats.compilations_succeeded > 1_500, "{stats:?}");
    assert!(defaults.stats().lookup_misses > 1_000);
}
