//! What becomes part of a path, and what not, by the blocks that are made.

use super::*;
use crate::analysis::control_flow::find_blocks;
use crate::decode::decode;
use crate::ir::opcode::{Opcode, OpcodeSet};
use alloy_primitives::hex;
use revm_primitives::hardfork::SpecId;

const PUSH1: u8 = Opcode::PUSH1.get();
const JUMP: u8 = Opcode::JUMP.get();
const JUMPDEST: u8 = Opcode::JUMPDEST.get();

/// The blocks with the pcs of their segments, a clone with `~`, and behind them `=` where a frame
/// resumes, `*` where offsets escape, and `?` if it isn't compiled.
fn all_blocks(code: &[u8], limits: ThreadLimits, compile_all: bool) -> String {
    let decoded = decode(code, SpecId::AMSTERDAM, OpcodeSet::ZERO);
    let flow = find_blocks(&decoded, code.len() as u32, u32::MAX);
    let threaded = thread_jumps(code, &decoded, flow, limits, compile_all);
    let Threaded { flow, cold, escaping } = threaded;
    let show = |(block, shape): (Block, &BlockShape)| {
        let segments = &flow.segments[shape.segments.start as usize..shape.segments.end as usize];
        let pc = |span: &Span| decoded.instructions[span.start as usize].pc.to_string();
        let pcs = segments.iter().map(pc).collect::<Vec<_>>().join("+");
        let mark = |is: bool, mark| if is { mark } else { "" };
        let (clone, resumes) = (mark(shape.is_clone, "~"), mark(shape.is_continuation, "="));
        let escapes = mark(escaping.contains(block), "*");
        format!("{clone}{pcs}{resumes}{escapes}{}", mark(cold.contains(block), "?"))
    };
    flow.blocks.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn blocks(code: &[u8], limits: ThreadLimits) -> String {
    all_blocks(code, limits, false)
}

fn by_default(code: &[u8]) -> String {
    blocks(code, ThreadLimits::default())
}

#[test]
fn a_share_of_the_code_may_be_copied_and_all_of_short_code() {
    let budgets = |limits: ThreadLimits| [0, 100, 200, 300, 501, 1000].map(|n| limits.budget(n));
    assert_eq!(budgets(ThreadLimits::default()), [0, 100, 200, 200, 200, 400]);
    let percent = |growth_percent| ThreadLimits { growth_percent, ..ThreadLimits::default() };
    assert_eq!(budgets(percent(1)), [0, 100, 200, 200, 200, 200]);
    assert_eq!(budgets(percent(70)), [0, 100, 200, 210, 350, 700]);
    assert_eq!(budgets(ThreadLimits::MOVE_ONLY), [0; 6]);
}

#[test]
fn offsets_are_remembered_down_to_a_depth() {
    let mut offsets = Offsets::default();
    for offset in 0..MAX_DEPTH as u32 + 2 {
        offsets.push(Some(offset));
    }
    offsets.push(None);
    offsets.truncate();
    let known: Vec<_> = offsets.known().collect();
    let expected = |depth: i16| (-depth, (MAX_DEPTH as u32 + 3) - depth as u32);
    assert_eq!(known, (2..=MAX_DEPTH as i16).rev().map(expected).collect::<Vec<_>>());
}

/// A call of a function at pc 8, which returns to pc 6.
const CALL: [u8; 10] = hex!("6006 6008 56 00 5b 00 5b 56");

#[test]
fn a_call_is_followed_to_its_function_and_back() {
    assert_eq!(by_default(&CALL), "0+8+6= 6? 8?");
    assert_eq!(blocks(&CALL, ThreadLimits::NONE), "0= 6* 8");
}

#[test]
fn a_path_is_as_long_as_its_limit() {
    // Three instructions, the function's two, and the two where it returns to.
    for (path, expected) in [(7, "0+8+6= 6? 8?"), (6, "0+8= 6 8?"), (4, "0= 6* 8")] {
        assert_eq!(blocks(&CALL, ThreadLimits { path, ..ThreadLimits::MOVE_ONLY }), expected);
    }
}

#[test]
fn a_path_goes_on_until_its_last_block_is_heavy() {
    let weigh = |code: &[Opcode]| code.iter().map(|opcode| opcode.weight()).sum::<u32>();
    let fixed = weigh(&[Opcode::PUSH1, Opcode::PUSH1, Opcode::JUMP]);
    let pair = [Opcode::ADDRESS, Opcode::POP];
    for (weight, is_followed) in [(MAX_BLOCK_WEIGHT - 1, true), (MAX_BLOCK_WEIGHT, false)] {
        let rest = weight - fixed;
        let mut code = pair.repeat((rest / weigh(&pair)) as usize);
        let single = (rest % weigh(&pair)) / Opcode::POP.weight();
        code.extend([Opcode::POP].repeat(single as usize));
        assert_eq!(weigh(&code), rest);
        // A jump to a function that ends.
        let mut code: Vec<u8> = code.into_iter().map(Opcode::get).collect();
        let to = (code.len() + 6) as u16;
        code.extend([PUSH1, 0, Opcode::PUSH2.get()]);
        code.extend(to.to_be_bytes());
        code.extend([JUMP, JUMPDEST, 0]);
        let expected = if is_followed { format!("0+{to}= {to}?") } else { format!("0= {to}") };
        assert_eq!(by_default(&code), expected, "{weight}");
    }
}

#[test]
fn offsets_that_are_computed_with_escape_but_for_short_ones() {
    for (pc, block) in [(0xff, "255?"), (0x100, "256*")] {
        // An offset that is negated.
        let mut code = hex!("61000015").to_vec();
        code[1..3].copy_from_slice(&u16::to_be_bytes(pc));
        code.resize(pc.into(), 0);
        code.push(JUMPDEST);
        assert_eq!(by_default(&code), format!("0= {block}"));
    }
}

/// A branch with an offset on the stack, which is jumped to on both ways: from pc 6, and 9.
fn branch(untaken_ends: u8, taken_ends: u8) -> Vec<u8> {
    let mut code = hex!("600c 34 6009 57 00 00 00 5b 00 00 5b 00").to_vec();
    (code[6], code[10]) = (untaken_ends, taken_ends);
    code
}

#[test]
fn a_branch_is_followed_if_only_one_way_fails() {
    const REVERT: u8 = Opcode::REVERT.get();
    assert_eq!(by_default(&branch(REVERT, JUMP)), "0= ~9+12 6? 9? 12?");
    assert_eq!(by_default(&branch(JUMP, REVERT)), "0= ~6+12 6? 9? 12?");
    // Where both live, the offset escapes; where both fail, nobody jumps to it.
    assert_eq!(by_default(&branch(JUMP, JUMP)), "0= 6 9 12*");
    assert_eq!(by_default(&branch(REVERT, REVERT)), "0= 6? 9? 12?");
    // The path is too long to be gone on with.
    let limits = ThreadLimits { path: 4, ..ThreadLimits::default() };
    assert_eq!(blocks(&branch(REVERT, JUMP), limits), "0= 6? 9 12*");
}

/// Two calls, at pc 4 and 11, of a function at pc 19.
fn two_calls(function: &[u8]) -> Vec<u8> {
    [&hex!("34 600b 57 6009 6013 56 5b00 5b 6011 6013 56 5b00")[..], function].concat()
}

#[test]
fn functions_are_copied_that_are_short() {
    // Of five instructions.
    let code = two_calls(&hex!("5b 34 15 50 56"));
    let copied = |copied_function| {
        blocks(&code, ThreadLimits { copied_function, ..ThreadLimits::default() })
    };
    for limit in [5, 6] {
        assert_eq!(copied(limit), "0= 4+19+9 9? 11+19+17 17? 19?", "{limit}");
    }
    for limit in [0, 1, 4] {
        assert_eq!(copied(limit), "0= 4 9* 11 17* 19", "{limit}");
    }
    // Of two blocks, which count together.
    let code = two_calls(&hex!("5b 6017 56 5b 56"));
    let copied = |copied_function| {
        blocks(&code, ThreadLimits { copied_function, ..ThreadLimits::default() })
    };
    assert_eq!(copied(5), "0= 4+19+23+9 9? 11+19+23+17 17? 19? 23?");
    assert_eq!(copied(4), "0= 4 9* 11 17* 19+23 23?");
}

#[test]
fn functions_that_loop_or_call_are_not_copied() {
    // What comes after the function jumps back into it.
    assert_eq!(
        by_default(&two_calls(&hex!("5b 6017 56 5b 56 5b 6017 56"))),
        "0= 4 9* 11 17* 19 23 25?"
    );
    // The function calls another.
    assert_eq!(
        by_default(&two_calls(&hex!("5b 6019 601b 56 5b 56 5b 56"))),
        "0= 4 9* 11 17* 19+27+25 25? 27?"
    );
    // It branches, and both ways live.
    assert_eq!(by_default(&two_calls(&hex!("5b 34 6019 57 56 5b 56"))), "0= 4 9* 11 17* 19 24 25");
    // It ends otherwise.
    assert_eq!(by_default(&two_calls(&hex!("5b 00"))), "0= 4 9* 11 17* 19");
}

/// Two calls, at pc 4 and 11, of a function at pc 19 that leaves an offset behind, to which both
/// callers jump. Nothing else refers to that block, which has so many instructions.
fn calls_with_a_block_in_common(instructions: usize) -> Vec<u8> {
    let calls = hex!("34 600b 57 6009 6013 56 5b 56 5b 6011 6013 56 5b 56 5b 6018 90 56 5b");
    [&calls[..], &[Opcode::PC.get()].repeat(instructions - 1)].concat()
}

#[test]
fn what_belongs_to_a_function_is_copied_with_it_while_the_budget_lasts() {
    let both = "0= 4+19+9+24 9? 11+19+17+24 17? 19? 24?";
    assert_eq!(by_default(&calls_with_a_block_in_common(3)), both);
    // Of the budget, the function has taken eight; the first path doesn't copy the block.
    let longest = SHORT_CODE as usize - 8;
    assert_eq!(by_default(&calls_with_a_block_in_common(longest)), both);
    let first_only = "0= 4+19+9+24 9? 11+19+17 17? 19? 24";
    assert_eq!(by_default(&calls_with_a_block_in_common(longest + 1)), first_only);
}

#[test]
fn a_clone_is_no_entry_of_a_frame() {
    // A function behind a call, at pc 1, to which a branch at pc 3 and a jump at pc 13 lead.
    let code = hex!("f1 5b56 5b 600b 34 6001 57 fd 5b00 5b 6014 6001 56 00 5b00");
    let shown = all_blocks(&code, ThreadLimits::default(), true);
    assert!(shown.contains(" 1= ") && shown.contains(" ~1+11 "), "{shown}");
}
