//! Each defect put into a sound program is found, and found where it is.

use super::*;
use crate::ir::opcode::Opcode;
use crate::ir::program::{JumpTarget, Span, Terminator, ValueDef};
use crate::{PassOptions, analyze};
use alloy_primitives::U256;

/// b0: an addition and a store, then a branch to b2; b1: a call, continued at b2's neighbour;
/// b2: a JUMPDEST that returns; b3: a JUMPDEST that hands over.
fn sound() -> Program {
    let code = alloy_primitives::hex!("5a35015f52 34600e57 5f5f5f5f5f5f5f f1 5b 905ff3 5b 0c");
    // Where the JUMPDEST lies depends on the bytes above, so look it up.
    let mut code = code.to_vec();
    let target = code.iter().position(|&byte| byte == 0x5b).expect("a JUMPDEST");
    code[7] = target as u8;
    let options = PassOptions { chunk_limit: 9, verify: true, ..PassOptions::default() };
    let program = analyze(&code, &options).expect("a sound program");
    assert_eq!(program.blocks.len(), 4, "{program}");
    assert_eq!(verify(&program, Stage::Complete), Ok(()));
    program
}

fn block(index: u32) -> Block {
    Block::from_u32(index)
}

fn inst(index: u32) -> Inst {
    Inst::from_u32(index)
}

/// The instruction of an opcode.
fn find(program: &Program, opcode: Opcode) -> Inst {
    let mut insts = program.insts.iter().filter(|(_, data)| data.opcode == opcode);
    insts.next().expect("the opcode is in the program").0
}

/// What the verifier says of a program that was sound before the change.
fn broken(change: impl FnOnce(&mut Program)) -> VerifyError {
    let mut program = sound();
    change(&mut program);
    verify(&program, Stage::Complete).expect_err("the program isn't sound any more")
}

/// Removes an entry point.
fn drop_entry(program: &mut Program, dropped: Entry) {
    let others = program.entries.iter().filter(|&(entry, _)| entry != dropped);
    program.entries = others.map(|(_, data)| *data).collect();
    let moved = |number: u32| number - u32::from(dropped.as_u32() < number);
    for data in program.blocks.values_mut() {
        let kept = data.entry.expand().filter(|&entry| entry != dropped);
        data.entry = kept.map(|entry| Entry::from_u32(moved(entry.as_u32()))).into();
    }
    for chunk in program.chunks.values_mut() {
        let Span { start, end } = chunk.entries;
        chunk.entries = Span { start: moved(start), end: moved(end) };
    }
}

fn at_block(index: u32, defect: Defect) -> VerifyError {
    VerifyError { entity: Entity::Block(block(index)), defect }
}

fn at_program(defect: Defect) -> VerifyError {
    VerifyError { entity: Entity::Program, defect }
}

#[test]
fn layout_of_blocks_and_pools() {
    assert_eq!(broken(|p| p.blocks.clear()), at_program(Defect::NoStart));
    assert_eq!(broken(|p| p.blocks[block(0)].pc = 1), at_program(Defect::NoStart));
    assert_eq!(broken(|p| p.blocks[block(1)].pc = 2), at_block(1, Defect::BytesOutOfOrder));
    assert_eq!(broken(|p| p.code_len -= 1), at_block(3, Defect::BytesOutOfOrder));
    assert_eq!(broken(|p| p.blocks[block(1)].insts.start += 1), at_block(1, Defect::InstSpan));
    let reversed = Span { start: 0, end: u32::MAX };
    assert_eq!(broken(|p| p.blocks[block(0)].insts = reversed), at_block(0, Defect::InstSpan));
    assert_eq!(broken(|p| p.blocks[block(0)].outputs.start = 1), at_block(0, Defect::OutputSpan));
    assert_eq!(broken(|p| p.arg_pool.push(Value::from_u32(0))), at_program(Defect::Leftover));
}

#[test]
fn instructions() {
    let at = |index, defect| VerifyError { entity: Entity::Inst(inst(index)), defect };
    assert_eq!(broken(|p| p.insts[inst(1)].pc = 9999), at(1, Defect::InstOutside));
    assert_eq!(broken(|p| p.insts[inst(0)].opcode = Opcode::POP), at(0, Defect::NotAnInstruction));
    let unknown = Opcode::new(0x0c);
    assert_eq!(broken(|p| p.insts[inst(0)].opcode = unknown), at(0, Defect::NotAnInstruction));
    assert_eq!(broken(|p| p.insts[inst(0)].opcode = Opcode::STOP), at(0, Defect::NotAnInstruction));
    let defect = Defect::ArgCount { found: 0, expected: 1 };
    assert_eq!(broken(|p| p.insts[inst(0)].opcode = Opcode::NOT), at(0, defect));
    assert_eq!(broken(|p| p.insts[inst(1)].args.start += 1), at(1, Defect::ArgSpan));
    assert_eq!(broken(|p| p.insts[inst(0)].result = None.into()), at(0, Defect::ResultCount));
    let error = broken(|p| p.insts[inst(0)].opcode = Opcode::RETURN);
    assert_eq!(error, at(0, Defect::EndsInside));
}

#[test]
fn definitions_and_uses() {
    let store = |p: &Program| find(p, Opcode::MSTORE);
    let missing = Value::from_u32(1000);
    let error = broken(|p| p.arg_pool[0] = missing);
    assert_eq!(error.defect, Defect::Missing(Entity::Value(missing)));

    let error = broken(|p| {
        let last = p.insts.last().expect("instructions").0;
        let foreign = p.args(last)[0];
        let start = p.insts[store(p)].args.start as usize;
        p.arg_pool[start] = foreign;
    });
    assert!(matches!(error.defect, Defect::ForeignValue(_)), "{error}");

    let error = broken(|p| {
        let result = p.insts[find(p, Opcode::ADD)].result.expect("a sum");
        let start = p.insts[find(p, Opcode::CALLDATALOAD)].args.start as usize;
        p.arg_pool[start] = result;
    });
    assert!(matches!(error.defect, Defect::UseBeforeDefinition(_)), "{error}");

    let error = broken(|p| p.values[Value::from_u32(0)].uses += 1);
    assert_eq!(error.defect, Defect::UseCount { found: 2, expected: 1 });

    let error = broken(|p| {
        let result = p.insts[find(p, Opcode::ADD)].result.expect("a sum");
        p.values[result].def = ValueDef::Const(U256::ZERO);
    });
    assert!(matches!(error.defect, Defect::ResultDefinition(_)), "{error}");

    let error = broken(|p| {
        let input = p.values.values_mut().find(|data| matches!(data.def, ValueDef::Input(_)));
        input.expect("an input").def = ValueDef::Input(0);
    });
    assert_eq!(error.defect, Defect::InputSlot(0));

    let error = broken(|p| {
        let unused = p.values.values_mut().find(|data| data.uses == 0);
        unused.expect("the constant of the branch's target").def = ValueDef::Result(inst(0));
    });
    assert_eq!(error.defect, Defect::NotItsResult(inst(0)));
}

#[test]
fn outputs() {
    // The call's seven zeros are the outputs of b1.
    let error = broken(|p| p.output_pool.swap(0, 1));
    assert_eq!(error, at_block(1, Defect::OutputOrder(0)));
    let error = broken(|p| {
        let value = p.output_pool[0].value;
        let slot = p.output_pool[0].slot - 100;
        p.values[value].def = ValueDef::Input(slot);
        p.output_pool[0].slot = slot;
    });
    assert_eq!(error, at_block(1, Defect::OutputUnchanged(-100)));
    let error = broken(|p| p.output_pool[0].slot = -1);
    assert_eq!(error, at_block(1, Defect::SlotOutOfBounds(-1)));
    let error = broken(|p| p.blocks[block(1)].stack.delta = 6);
    assert_eq!(error, at_block(1, Defect::SlotOutOfBounds(6)));
    let error = broken(|p| p.blocks[block(1)].terminator = Terminator::Stop { pc: 0 });
    assert_eq!(error.defect, Defect::EndsInside);
    let error = broken(|p| p.blocks[block(0)].stack.delta = 1);
    assert_eq!(error, at_block(0, Defect::OutputMissing { found: 0, expected: 1 }));
}

#[test]
fn terminators() {
    let error = broken(|p| p.blocks[block(3)].terminator = Terminator::FallThrough(block(4)));
    assert_eq!(error, at_block(3, Defect::Missing(Entity::Block(block(4)))));
    let jump = |target| Terminator::Jump(JumpTarget::Block(block(target)));
    let error = broken(|p| p.blocks[block(0)].terminator = jump(1));
    assert_eq!(error, at_block(0, Defect::NotJumpDest(block(1))));
    let error = broken(|p| p.blocks[block(0)].terminator = jump(9));
    assert_eq!(error, at_block(0, Defect::Missing(Entity::Block(block(9)))));
    let error = broken(|p| {
        p.blocks[block(3)].terminator =
            Terminator::HandOver { pc: u32::MAX, continuation: None.into() }
    });
    assert_eq!(error, at_block(3, Defect::HandOverPc(u32::MAX)));
    let error = broken(|p| p.blocks[block(0)].terminator = Terminator::Exit(inst(0)));
    assert_eq!(error, at_block(0, Defect::TerminatorInst(inst(0))));
}

#[test]
fn merged_blocks() {
    // b1 and b3 are the same; b2 jumps to b1, and b0 to anywhere.
    let code = alloy_primitives::hex!("5f3556 5b5f5056 5b600356 5b5f5056");
    let options = PassOptions { compile_all: true, ..PassOptions::default() };
    let sound = analyze(&code, &options).expect("a sound program");
    assert_eq!(verify(&sound, Stage::Complete), Ok(()));
    assert_eq!(sound.blocks[block(3)].merged_into.expand(), Some(block(1)));
    let broken = |change: &dyn Fn(&mut Program)| {
        let mut program = sound.clone();
        change(&mut program);
        verify(&program, Stage::Complete).expect_err("the program isn't sound any more")
    };
    let jump = Terminator::Jump(JumpTarget::Block(block(3)));
    let error = broken(&|p| p.blocks[block(2)].terminator = jump.clone());
    assert_eq!(error, at_block(2, Defect::LeadsToMerged(block(3))));
    let error = broken(&|p| p.blocks[block(3)].merged_into = block(3).into());
    assert_eq!(error, at_block(3, Defect::MergedInto(block(3))));
    let error = broken(&|p| p.blocks[block(3)].merged_into = block(2).into());
    assert_eq!(error, at_block(3, Defect::MergedInto(block(2))));
    let error = broken(&|p| p.blocks[block(1)].gas += 1);
    assert_eq!(error, at_block(3, Defect::MergedInto(block(1))));
    let alias = sound.blocks[block(3)].entry.expect("a JUMPDEST has an entry point");
    let error = broken(&|p| p.entries[alias].block = block(3));
    assert_eq!(error, VerifyError { entity: Entity::Entry(alias), defect: Defect::EntryMismatch });
    // Two blocks at the entry point of the second: the first's JUMPDEST would be nowhere.
    let error = broken(&|p| {
        drop_entry(p, p.blocks[block(1)].entry.expect("a JUMPDEST has an entry point"));
        p.blocks[block(1)].entry = p.blocks[block(3)].entry;
    });
    assert_eq!(error, at_block(1, Defect::EntryMismatch));
}

#[test]
fn bounds_and_gas() {
    let error = broken(|p| p.blocks[block(0)].stack.growth = 0);
    assert!(matches!(error.defect, Defect::HeightOutOfBounds(_)), "{error}");
    let error = broken(|p| p.blocks[block(0)].stack.needed = 0);
    assert!(matches!(error.defect, Defect::HeightOutOfBounds(_)), "{error}");
    let error = broken(|p| p.insts[inst(0)].gas_after += 1);
    assert_eq!(error, VerifyError { entity: Entity::Inst(inst(0)), defect: Defect::GasGrows });
    let error = broken(|p| p.blocks[block(0)].gas = 0);
    assert_eq!(error.defect, Defect::GasGrows);
}

#[test]
fn chunks_and_entries() {
    let (c0, e0) = (Chunk::from_u32(0), Entry::from_u32(0));
    let error = broken(|p| p.chunks.clear());
    assert_eq!(error, at_program(Defect::Leftover));
    let error = broken(|p| p.chunks[c0].blocks.start = 1);
    assert_eq!(error.defect, Defect::ChunkBlocks);
    let error = broken(|p| p.chunks[c0].entries.start = 1);
    assert_eq!(error.defect, Defect::ChunkEntries);
    let error = broken(|p| {
        p.blocks[block(2)].is_clone = true;
        p.blocks[block(0)].terminator = Terminator::FallThrough(block(2));
        p.blocks[block(1)].terminator = Terminator::FallThrough(block(2));
    });
    assert!(matches!(error.defect, Defect::SharedClone(_) | Defect::EndsInside), "{error}");
    let error = broken(|p| p.blocks[block(0)].chunk = Chunk::from_u32(7));
    assert_eq!(error, at_block(0, Defect::WrongChunk));
    let error = broken(|p| p.entries[e0].pc = 1);
    assert_eq!(error, VerifyError { entity: Entity::Entry(e0), defect: Defect::EntryMismatch });
    let error = broken(|p| p.entries[e0].is_continuation = false);
    assert_eq!(error.defect, Defect::ContinuationFlag);
    let start = broken(|p| {
        drop_entry(p, e0);
        p.blocks[block(0)].is_cold = true;
    });
    assert_eq!(start, at_block(0, Defect::EntryMissing));
    let missing = Entry::from_u32(100);
    let error = broken(|p| {
        let next = p.entries.next_key();
        assert!(next < missing);
        p.blocks[block(1)].entry = missing.into();
    });
    assert!(
        matches!(error.defect, Defect::Missing(Entity::Entry(_)) | Defect::EntryMismatch),
        "{error}"
    );
    let program = sound();
    let error = verify(&program, Stage::GasSummed).expect_err("chunks are there too early");
    assert_eq!(error, at_program(Defect::TooEarly));
}
