//! What a block does otherwise than its bytes is found.

use super::*;
use crate::ir::opcode::OpcodeSet;
use crate::ir::program::{JumpTarget, Span};
use crate::ir::verify::{Stage, verify, verify_source};
use crate::{PassOptions, PassSet, analyze};
use alloy_primitives::hex;

/// b0: what is left of a calldata word after 2 goes to memory, and 1 to the caller's slot; the
/// difference of two words stays on the stack, and a third word decides between b1, which stores
/// at the same place three times, and b2.
const CODE: &[u8] =
    &hex!("6002600435036040526001335503906026576001604052600260405260036040520000fefefe5b00");

/// The program without paths, so that each block is one segment.
fn analyzed() -> (Program, Source<'static>) {
    let options = PassOptions { skip: PassSet::THREAD_JUMPS, ..PassOptions::default() };
    let program = analyze(CODE, &options).expect("short code");
    let source = source_of(&program, CODE);
    (program, source)
}

/// The source of a program without paths.
fn source_of<'a>(program: &Program, code: &'a [u8]) -> Source<'a> {
    let blocks = program.blocks.values();
    let segments = blocks.map(|data| vec![Span { start: data.pc, end: data.end_pc }]);
    let constants = vec![Vec::new(); program.blocks.len()];
    Source { code, segments: segments.collect(), constants, foreign: OpcodeSet::ZERO }
}

fn broken(change: impl FnOnce(&mut Program, &mut Source<'_>)) -> Defect {
    let (mut program, mut source) = analyzed();
    assert_eq!(verify_meaning(&program, &source), Ok(()));
    change(&mut program, &mut source);
    verify_meaning(&program, &source).expect_err("it is wrong").defect
}

fn block(index: u32) -> Block {
    Block::from_u32(index)
}

#[test]
fn wrong_words_are_found() {
    let defect = broken(|program, _| {
        let mut values = program.values.values_mut();
        let two = values.find(|value| value.def == ValueDef::Const(U256::from(2)));
        two.expect("a constant").def = ValueDef::Const(U256::from(3));
    });
    assert_eq!(defect, Defect::OtherThanItsBytes, "another word goes to memory");
    // The difference on the stack has its arguments the other way round.
    let defect = broken(|program, _| {
        let mut insts = program.insts.values().rev();
        let sub = insts.find(|inst| inst.opcode == Opcode::SUB).expect("a difference").args;
        program.arg_pool.swap(sub.start as usize, sub.start as usize + 1);
    });
    assert!(matches!(defect, Defect::OtherStack(_)), "{defect}");
    let defect = broken(|program, _| {
        let mut insts = program.insts.values_mut();
        let store = insts.find(|inst| inst.opcode == Opcode::SSTORE).expect("a store").args;
        program.arg_pool.swap(store.start as usize, store.start as usize + 1);
    });
    assert_eq!(defect, Defect::OtherThanItsBytes);
    let defect = broken(|program, _| {
        let mut insts = program.insts.values();
        let load = insts.find(|inst| inst.opcode == Opcode::CALLDATALOAD).expect("a load");
        program.values[load.result.expect("its word")].bits = 8;
    });
    assert!(matches!(defect, Defect::TooNarrow { bits: 8, .. }), "{defect}");
}

#[test]
fn what_is_missing_is_found() {
    // The store to storage is the last but the difference.
    let defect = broken(|program, _| {
        let inst = program.insts.values_mut().find(|inst| inst.opcode == Opcode::SSTORE);
        inst.expect("a store").pc = 0;
    });
    assert_eq!(defect, Defect::Dropped(Opcode::SSTORE));
    let (program, _) = analyzed();
    let stores = program.block_insts(block(1)).map(|inst| program.insts[inst].pc);
    assert_eq!(stores.collect::<Vec<_>>(), [22, 32], "the store between is dropped already");
    for missing in 0..2 {
        let defect = broken(|program, _| {
            let inst = program.block_insts(block(1)).nth(missing).expect("a store");
            program.insts[inst].pc = 0;
        });
        assert_eq!(defect, Defect::OtherMemory);
    }
}

#[test]
fn ways_elsewhere_are_found() {
    let end = |change: fn(&mut Terminator)| {
        broken(|program, _| change(&mut program.blocks[block(0)].terminator))
    };
    let elsewhere = end(|terminator| {
        if let Terminator::Branch { target, .. } = terminator {
            *target = JumpTarget::Block(block(1));
        }
    });
    assert_eq!(elsewhere, Defect::OtherEnd);
    let elsewhere = end(|terminator| {
        if let Terminator::Branch { otherwise, .. } = terminator {
            *otherwise = block(2);
        }
    });
    assert_eq!(elsewhere, Defect::OtherEnd);
    assert_eq!(broken(|program, _| program.blocks[block(1)].pc += 1), Defect::OtherEnd);
    let gap = broken(|_, source| source.segments[0].insert(0, Span { start: 0, end: 2 }));
    assert_eq!(gap, Defect::OtherPath(0), "the bytes aren't one path");
}

#[test]
fn words_that_only_some_ways_bring_are_found() {
    let defect = broken(|program, source| {
        // A copy of b2, to which b0 branches instead.
        let mut copy = program.blocks[block(2)].clone();
        (copy.is_clone, copy.is_jumpdest, copy.entry) = (true, false, None.into());
        let copy = program.blocks.push(copy);
        if let Terminator::Branch { target, .. } = &mut program.blocks[block(0)].terminator {
            *target = JumpTarget::Block(copy);
        }
        source.segments.push(source.segments[2].clone());
        source.constants.push(vec![(-1, 5)]);
    });
    assert_eq!(defect, Defect::OtherConstant(-1));
    let defect = broken(|_, source| source.constants[2] = vec![(-1, 5)]);
    assert_eq!(defect, Defect::OtherConstant(-1), "it has an entry point");
}

/// A computed jump, two JUMPDESTs that push 1 and 2, or the same word twice, and jump to the same
/// place: two blocks of the same opcodes.
fn mergeable(words: [u8; 2]) -> (Program, Vec<u8>) {
    let mut code = hex!("5f35565b6001600f565b6002600f565b5f5500").to_vec();
    [code[5], code[11]] = words;
    let skip = PassSet::THREAD_JUMPS.union(PassSet::DEDUP);
    let options = PassOptions { compile_all: true, skip, ..PassOptions::default() };
    (analyze(&code, &options).expect("short code"), code)
}

/// Merges the second JUMPDEST into the first.
fn merged(words: [u8; 2]) -> Result<(), VerifyError> {
    let (mut program, code) = mergeable(words);
    let entry = program.blocks[block(2)].entry.expect("a JUMPDEST has an entry point");
    program.blocks[block(2)].merged_into = block(1).into();
    program.entries[entry].block = block(1);
    assert_eq!(verify(&program, Stage::Complete), Ok(()));
    let source = source_of(&program, &code);
    verify_source(&program, &source, Stage::Complete)?;
    verify_meaning(&program, &source)
}

#[test]
fn only_what_leaves_the_same_may_be_merged() {
    assert_eq!(merged([1, 1]), Ok(()));
    let error = merged([1, 2]).expect_err("2 would become 1");
    assert_eq!(error.entity, Entity::Block(block(2)));
    assert!(matches!(error.defect, Defect::OtherStack(_)), "{error}");
}

/// As above, but for the target of the second jump, which leads to the other JUMPDEST.
#[test]
fn only_what_goes_to_the_same_place_may_be_merged() {
    let (mut program, mut code) = mergeable([1, 1]);
    code[13] = 3;
    let source = source_of(&program, &code);
    program.blocks[block(2)].terminator = Terminator::Jump(JumpTarget::Block(block(1)));
    assert_eq!(verify_meaning(&program, &source), Ok(()));
    program.blocks[block(2)].merged_into = block(1).into();
    let error = verify_meaning(&program, &source).expect_err("it goes elsewhere");
    assert_eq!(error, VerifyError { entity: Entity::Block(block(2)), defect: Defect::OtherEnd });
}

/// CALLDATALOAD and a computed jump, and a JUMPDEST that pushes a word and stops.
const COMPUTED: &[u8] = &hex!("600035565b5f00");

/// What is found, by the program alone or with its code, of one whose JUMPDEST is block 1.
fn with_jumpdest(change: impl FnOnce(&mut Program)) -> Result<(), VerifyError> {
    let skip = PassSet::THREAD_JUMPS;
    let options = PassOptions { compile_all: true, skip, ..PassOptions::default() };
    let mut program = analyze(COMPUTED, &options).expect("short code");
    change(&mut program);
    let source = source_of(&program, COMPUTED);
    verify(&program, Stage::Complete)?;
    verify_source(&program, &source, Stage::Complete)?;
    verify_meaning(&program, &source)
}

/// Keeps only the entry point of the contract's start.
fn drop_entry(program: &mut Program) {
    program.blocks[block(1)].entry = None.into();
    program.entries = program.entries.values().take(1).copied().collect();
    program.chunks.values_mut().for_each(|chunk| chunk.entries.end = 1);
}

#[test]
fn jump_targets_that_are_lost_or_made_up_are_found() {
    assert_eq!(with_jumpdest(|_| ()), Ok(()));
    assert_eq!(with_jumpdest(drop_entry), Ok(()), "it is absent");
    let lost = with_jumpdest(|program| {
        drop_entry(program);
        program.blocks[block(1)].is_jumpdest = false;
    });
    let defect = Defect::JumpDestLost(4);
    assert_eq!(lost, Err(VerifyError { entity: Entity::Program, defect }));
    // No block is left there at all, but one that begins after it.
    let lost = with_jumpdest(|program| {
        drop_entry(program);
        let data = &mut program.blocks[block(1)];
        (data.is_jumpdest, data.pc, data.gas) = (false, 5, data.gas - 1);
    });
    assert_eq!(lost, Err(VerifyError { entity: Entity::Program, defect }));
    // The start isn't one, and its entry point says neither.
    let made_up = with_jumpdest(|program| {
        program.blocks[block(0)].is_jumpdest = true;
        program.entries.values_mut().for_each(|entry| entry.is_jumpdest = true);
    });
    let defect = Defect::NotTheJumpDest;
    assert_eq!(made_up, Err(VerifyError { entity: Entity::Block(block(0)), defect }));
    let copy = with_jumpdest(|program| program.blocks[block(1)].is_clone = true);
    assert_eq!(copy, Err(VerifyError { entity: Entity::Block(block(1)), defect }));
}
