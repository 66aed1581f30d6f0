//! What a program tells of itself.

use super::*;
use crate::{PassOptions, PassSet, analyze};

fn analyzed(code: &[u8], options: PassOptions) -> Program {
    analyze(code, &PassOptions { verify: true, ..options }).expect("short code")
}

#[test]
fn jumps_are_counted_by_what_is_known_of_them() {
    // A call of a function at pc 9 that returns to pc 5; two jumps that input decides, of which
    // nothing leads to the second; and a jump to what is no JUMPDEST.
    let code = alloy_primitives::hex!("6005600956 5b5f3556 5b56 5b3656 5b5f56");
    let stats = |compile_all| {
        let skip = PassSet::THREAD_JUMPS;
        analyzed(&code, PassOptions { compile_all, skip, ..PassOptions::default() }).jump_stats()
    };
    assert_eq!(stats(true), JumpStats { constant: 2, resolved: 1, unresolved: 2 });
    assert_eq!(stats(false), JumpStats { constant: 1, resolved: 1, unresolved: 1 });
}

#[test]
fn memory_that_the_first_block_accesses_is_there() {
    let memory = |code: &[u8]| analyzed(code, PassOptions::default()).initial_memory();
    let hex = |text: &str| alloy_primitives::hex::decode(text).expect("hexadecimal");
    assert_eq!(memory(&hex("3450")), 0);
    // MLOAD, MSTORE and MSTORE8, at the last place that is in some words, and one behind it.
    for (opcode, last) in [("51", 0x40), ("3452", 0x40), ("3453", 0x5f)] {
        let access = |offset: u16| {
            let (before, after) = opcode.split_at(opcode.len() - 2);
            hex(&format!("{before}61{offset:04x}{after}"))
        };
        assert_eq!(memory(&access(last)), 0x60, "{opcode}");
        assert_eq!(memory(&access(last + 1)), 0x80, "{opcode}");
        // The greatest of all.
        assert_eq!(memory(&[access(last), access(0), access(1)].concat()), 0x60, "{opcode}");
    }
    // Offsets that are great or unknown aren't followed, nor what is behind the first block.
    assert_eq!(memory(&hex("61ffff51")), 0x1_0020);
    assert_eq!(memory(&hex("6201000051")), 0);
    assert_eq!(memory(&hex("6801000000000000000051")), 0);
    assert_eq!(memory(&hex("3451")), 0);
    assert_eq!(memory(&hex("5f51343457604051")), 0x20);
}

#[test]
fn spans_are_empty_that_end_where_they_begin() {
    let span = |start, end| Span { start, end };
    assert_eq!((span(3, 3).len(), span(3, 3).is_empty()), (0, true));
    assert_eq!((span(3, 8).len(), span(3, 8).is_empty()), (5, false));
}
