//! Merges identical blocks: jumps to any of them lead to the first.
//!
//! Two blocks are identical if compiled code does the same in both, and so does the interpreter, to
//! which compiled code hands over at the first one's pc. For compiled code they need the same
//! instructions on the same operands, outputs and terminator. The interpreter may fail at each
//! opcode, and what it did before can be observed, so they need the same opcodes in the same order:
//! then stack, gas and memory fail at the same place. The constants pushed may differ where they
//! aren't used, as the target of a static jump isn't: so blocks that differ in a jump to one of two
//! merged blocks are merged in the next round.
//!
//! Only blocks that jump are merged, and that begin with JUMPDEST. One that ends the frame leaves
//! its pc behind, and one that hands over may come upon an opcode that looks at the bytes behind
//! it. Nor is a block merged that isn't compiled, from which nothing is gained: who goes there
//! hands over at its own pc.
//!
//! A merged block keeps its instructions, but isn't translated any more; its entry point leads to
//! the first block ([`BlockData::merged_into`](crate::ir::program::BlockData::merged_into)).
//!
//! Cost: linear in the program, but for sorting the blocks by hash, in each of a fixed number of
//! rounds. Blocks of equal hash are compared with the first of them only, so no choice of blocks
//! makes it more; blocks that merely collide aren't merged.

use crate::analysis::control_flow::ControlFlow;
use crate::decode::{Decoded, Form, Instruction};
use crate::ir::entities::{Block, Value};
use crate::ir::opcode::Opcode;
use crate::ir::program::{JumpTarget, Program, Terminator, ValueDef};
use cranelift_entity::{EntityRef, EntitySet};

/// Rounds at most. The second merges what jumps to merged blocks, and so on.
const MAX_ROUNDS: usize = 3;

/// Merges identical blocks of a program that has its stack bounds and gas, but no chunks. Those in
/// `cold` won't be compiled.
pub(crate) fn dedup(
    program: &mut Program,
    decoded: &Decoded,
    flow: &ControlFlow,
    cold: &EntitySet<Block>,
) {
    let mut keys = Keys {
        source: Source { decoded, flow },
        cold,
        continuations: continuations(program),
        hashes: Vec::new(),
        first: Vec::new(),
        other: Vec::new(),
    };
    for round in 0..MAX_ROUNDS {
        keys.collect(program, round > 0);
        if !keys.merge(program) {
            break;
        }
        redirect(program);
    }
}

fn continuations(program: &Program) -> EntitySet<Block> {
    let mut found = EntitySet::with_capacity(program.blocks.len());
    for data in program.blocks.values() {
        if let Some(continuation) = data.terminator.continuation() {
            found.insert(continuation);
        }
    }
    found
}

/// What blocks are in the bytecode.
#[derive(Clone, Copy)]
struct Source<'a> {
    decoded: &'a Decoded,
    flow: &'a ControlFlow,
}

/// Buffers of one round.
struct Keys<'a> {
    source: Source<'a>,
    cold: &'a EntitySet<Block>,
    /// Hash and block.
    hashes: Vec<(u64, Block)>,
    first: Vec<u64>,
    other: Vec<u64>,
    /// Where frames resume.
    continuations: EntitySet<Block>,
}

impl Keys<'_> {
    /// Hashes the blocks that may be merged, or only those that end with a static jump.
    fn collect(&mut self, program: &Program, only_jumps: bool) {
        self.hashes.clear();
        for (block, data) in program.blocks.iter() {
            let is_static_jump = matches!(data.terminator, Terminator::Jump(JumpTarget::Block(_)));
            let is_wanted = is_static_jump || !only_jumps;
            if is_wanted
                && data.merged_into.is_none()
                && !self.cold.contains(block)
                && is_mergeable(program, &self.continuations, block)
            {
                write_key(program, self.source, block, &mut self.first);
                self.hashes.push((hash(&self.first), block));
            }
        }
        self.hashes.sort_unstable();
    }

    /// Merges each block into the first of its hash, if they are identical. Tells whether any was.
    fn merge(&mut self, program: &mut Program) -> bool {
        let mut found = false;
        for group in self.hashes.chunk_by(|a, b| a.0 == b.0) {
            let [(_, first), others @ ..] = group else { continue };
            if !others.is_empty() {
                write_key(program, self.source, *first, &mut self.first);
            }
            for (_, other) in others {
                write_key(program, self.source, *other, &mut self.other);
                if self.first == self.other {
                    program.blocks[*other].merged_into = (*first).into();
                    found = true;
                }
            }
        }
        found
    }
}

/// Whether a block may be merged: it begins with JUMPDEST and jumps, and no frame resumes there.
fn is_mergeable(program: &Program, continuations: &EntitySet<Block>, block: Block) -> bool {
    let data = &program.blocks[block];
    let jumps =
        matches!(data.terminator, Terminator::Jump(JumpTarget::Block(_) | JumpTarget::Dynamic(_)));
    data.is_jumpdest && jumps && !continuations.contains(block)
}

/// Leads every edge to a merged block to the one it is merged into.
fn redirect(program: &mut Program) {
    // A block is merged into an earlier one, which leads to its own goal by then.
    for index in 0..program.blocks.len() {
        let block = Block::new(index);
        if let Some(goal) = program.blocks[block].merged_into.expand() {
            program.blocks[block].merged_into = program.goal(goal).into();
        }
    }
    for index in 0..program.blocks.len() {
        let block = Block::new(index);
        let mut terminator = program.blocks[block].terminator.clone();
        match &mut terminator {
            Terminator::Jump(JumpTarget::Block(target))
            | Terminator::Branch { target: JumpTarget::Block(target), .. } => {
                *target = program.goal(*target);
            }
            _ => {}
        }
        if let Terminator::FallThrough(next) | Terminator::Branch { otherwise: next, .. } =
            &mut terminator
        {
            *next = program.goal(*next);
        }
        program.blocks[block].terminator = terminator;
    }
}

/// Writes a block as words that are equal for identical blocks only.
fn write_key(program: &Program, source: Source<'_>, block: Block, key: &mut Vec<u64>) {
    let data = &program.blocks[block];
    key.clear();
    write_opcodes(source, block, key);
    key.extend([data.insts.len() as u64, data.outputs.len() as u64]);
    for inst in program.block_insts(block) {
        let inst_data = &program.insts[inst];
        key.extend([inst_data.opcode.get().into(), inst_data.height as u64, inst_data.gas_after]);
        for &arg in program.args(inst) {
            write_value(program, arg, data.insts.start, key);
        }
    }
    for output in program.outputs(block) {
        key.push(output.slot as u64);
        write_value(program, output.value, data.insts.start, key);
    }
    match data.terminator {
        Terminator::Jump(JumpTarget::Block(target)) => key.extend([0, target.as_u32().into()]),
        Terminator::Jump(JumpTarget::Dynamic(value)) => {
            key.push(1);
            write_value(program, value, data.insts.start, key);
        }
        // Others aren't merged.
        _ => key.push(2),
    }
}

/// Writes a block's opcodes, which decide what each does to the stack's height and to the static
/// gas: all that matters of them beside the values.
fn write_opcodes(Source { decoded, flow }: Source<'_>, block: Block, key: &mut Vec<u64>) {
    let shape = &flow.blocks[block];
    key.push(flow.instruction_count(shape).into());
    let mut half = None;
    for instruction in flow.instructions(decoded, shape) {
        let kind = u64::from(kind(instruction));
        match half.take() {
            Some(first) => key.push(first << 32 | kind),
            None => half = Some(kind),
        }
    }
    key.extend(half);
}

/// An opcode with its depths. PUSHes of any length are of one kind, but for PUSH0, which costs
/// less.
fn kind(instruction: &Instruction) -> u32 {
    let Instruction { opcode, form, .. } = *instruction;
    let is_push = (Opcode::PUSH1..=Opcode::PUSH32).contains(&opcode);
    let opcode = if is_push { Opcode::PUSH1 } else { opcode };
    let depths = match form {
        Form::Dup(depth) => [depth, 0],
        Form::Exchange(upper, lower) => [upper, lower],
        _ => [0, 0],
    };
    u32::from_be_bytes([0, opcode.get(), depths[0], depths[1]])
}

/// Writes what a value is: an input by its slot, a result by its place in the block.
fn write_value(program: &Program, value: Value, first_inst: u32, key: &mut Vec<u64>) {
    match program.values[value].def {
        ValueDef::Input(slot) => key.extend([0, slot as u64]),
        ValueDef::Const(word) => {
            key.push(1);
            key.extend_from_slice(word.as_limbs());
        }
        ValueDef::Result(inst) => key.extend([2, u64::from(inst.as_u32() - first_inst)]),
        ValueDef::Unused => key.push(3),
    }
}

fn hash(words: &[u64]) -> u64 {
    words.iter().fold(words.len() as u64, |hash, &word| {
        (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

#[cfg(test)]
mod tests {
    use crate::ir::opcode::Opcode;
    use crate::{PassOptions, PassSet, analyze};
    use revm_primitives::hardfork::SpecId;

    /// How many of the blocks with these opcodes, which a computed jump may lead to, are merged
    /// into another.
    fn merged(blocks: &[&[u8]]) -> usize {
        let mut code =
            [Opcode::PUSH0, Opcode::CALLDATALOAD, Opcode::JUMP].map(Opcode::get).to_vec();
        for block in blocks {
            code.push(Opcode::JUMPDEST.get());
            code.extend(*block);
        }
        let options = PassOptions {
            spec_id: SpecId::AMSTERDAM,
            compile_all: true,
            verify: true,
            ..PassOptions::default()
        };
        let program = analyze(&code, &options).expect("short code");
        program.blocks.values().filter(|data| data.merged_into.is_some()).count()
    }

    fn are_merged(first: &[u8], second: &[u8]) -> bool {
        merged(&[first, second]) == 1
    }

    const CALLER: u8 = Opcode::CALLER.get();
    const POP: u8 = Opcode::POP.get();
    const JUMP: u8 = Opcode::JUMP.get();

    #[test]
    fn equal_blocks_are_merged() {
        assert!(are_merged(&[CALLER, POP, POP, JUMP], &[CALLER, POP, POP, JUMP]));
        let push = [Opcode::PUSH1, Opcode::PUSH2].map(Opcode::get);
        let (short, long) = ([push[0], 9, POP, JUMP], [push[1], 0, 8, POP, JUMP]);
        assert!(are_merged(&short, &long), "what is pushed isn't used");
    }

    #[test]
    fn blocks_that_fail_in_different_places_stay_two() {
        // As much stack, gas and effect, in another order.
        assert!(!are_merged(&[CALLER, POP, POP, JUMP], &[POP, CALLER, POP, JUMP]));
        let (msize, address) = (Opcode::MSIZE.get(), Opcode::ADDRESS.get());
        assert!(!are_merged(&[msize, POP, JUMP], &[address, POP, JUMP]));
        assert!(!are_merged(&[POP, msize, POP, JUMP], &[POP, address, POP, JUMP]));
        // What is as if it were not there needs as many words.
        for opcode in [Opcode::SWAPN, Opcode::EXCHANGE] {
            let there_and_back = |depth| [opcode.get(), depth, opcode.get(), depth, JUMP];
            let (one, other) = (there_and_back(0x80), there_and_back(0x81));
            assert!(are_merged(&one, &one) && !are_merged(&one, &other), "{opcode}");
        }
        let dropped = |depth| [Opcode::DUPN.get(), depth, POP, JUMP];
        assert!(are_merged(&dropped(0x80), &dropped(0x80)));
        assert!(!are_merged(&dropped(0x80), &dropped(0x81)));
        // The same opcodes, of which other instructions become.
        let (push, mul) = (Opcode::PUSH1.get(), Opcode::MUL.get());
        assert!(are_merged(&[push, 5, mul, JUMP], &[push, 5, mul, JUMP]));
        assert!(!are_merged(&[push, 0x20, mul, JUMP], &[push, 5, mul, JUMP]));
        let zero = Opcode::PUSH0.get();
        assert!(!are_merged(&[Opcode::PUSH1.get(), 0, POP, JUMP], &[zero, POP, JUMP]));
    }

    #[test]
    fn equal_blocks_among_others_are_merged() {
        let blocks: Vec<[u8; 4]> =
            [Opcode::ADDRESS, Opcode::CALLER, Opcode::CALLVALUE, Opcode::MSIZE, Opcode::GAS]
                .map(|opcode| [opcode.get(), POP, POP, JUMP])
                .to_vec();
        let twice: Vec<&[u8]> = blocks.iter().chain(&blocks).map(|block| &block[..]).collect();
        assert_eq!(merged(&twice), blocks.len());
    }

    /// A jump to the upper of two words, or the lower one: constants choose.
    fn jump_to(is_upper: bool) -> Vec<u8> {
        let keep = |keeps: bool| {
            let mask = [if keeps { 0xff } else { 0 }; 32];
            [&[Opcode::PUSH32.get()], &mask[..], &[Opcode::AND.get()]].concat()
        };
        let (upper, lower) = (keep(is_upper), keep(!is_upper));
        [&upper, &[Opcode::SWAP1.get()][..], &lower, &[Opcode::OR.get(), JUMP]].concat()
    }

    #[test]
    fn blocks_that_jump_to_different_words_stay_two() {
        assert!(are_merged(&jump_to(true), &jump_to(true)));
        assert!(!are_merged(&jump_to(true), &jump_to(false)));
    }

    /// How many of two equal blocks behind an opcode each are merged into the other.
    fn merged_behind(opcode: Opcode) -> usize {
        let half = [opcode.get(), Opcode::JUMPDEST.get(), POP, JUMP];
        // The second is reached by a JUMPDEST before the opcode.
        let code = [&half[..], &[Opcode::JUMPDEST.get()], &half].concat();
        let options = PassOptions {
            compile_all: true,
            verify: true,
            skip: PassSet::THREAD_JUMPS,
            ..PassOptions::default()
        };
        let program = analyze(&code, &options).expect("short code");
        program.blocks.values().filter(|data| data.merged_into.is_some()).count()
    }

    #[test]
    fn where_frames_resume_blocks_stay_two() {
        assert_eq!(merged_behind(Opcode::CALLER), 1);
        assert_eq!(merged_behind(Opcode::CALL), 0);
    }
}
