//! What is unlikely to run, and which JUMPDESTs a computed jump may reach. Both are guesses, and
//! a wrong one only hands over to the interpreter.
//!
//! A block is **cold** if it isn't reached, or if it leads only to failure.
//!
//! - *Reached* are the contract's start, what reached blocks go on with, and JUMPDESTs whose
//!   offset a reached block pushes. A jump target that is read from memory or computed isn't found.
//! - *Leading only to failure* are `REVERT`, opcodes that aren't compiled, invalid jumps, and
//!   blocks all of whose successors do. A loop or a computed jump isn't said to.
//!
//! A JUMPDEST **escapes** if its offset is pushed other than for the jump that follows at once:
//! such an offset travels, as a return address does, and comes back as a computed jump. The other
//! JUMPDESTs are entered by jumps with a static target only.
//!
//! With [`PassOptions::compile_all`](crate::PassOptions::compile_all) nothing is cold, and
//! JUMPDESTs that nobody pushes escape.
//!
//! Cost: each block's instructions are looked at once, its terminator twice.

use super::control_flow::ControlFlow;
use crate::decode::{Decoded, Form, Instruction};
use crate::ir::entities::Block;
use crate::ir::opcode::Opcode;
use crate::ir::program::{JumpTarget, Program, Terminator};
use cranelift_entity::{EntityRef, EntitySet};

/// The guesses about a program.
#[derive(Debug, Default)]
pub(crate) struct Likelihood {
    /// Blocks that are left to the interpreter.
    pub(crate) cold: EntitySet<Block>,
    /// Blocks that computed jumps may reach.
    pub(crate) escaping: EntitySet<Block>,
}

/// Guesses which blocks run, and how they are entered.
pub(crate) fn find_likelihood(
    code: &[u8],
    decoded: &Decoded,
    flow: &ControlFlow,
    program: &Program,
    compile_all: bool,
) -> Likelihood {
    let mut search = Search {
        code,
        decoded,
        flow,
        reached: EntitySet::with_capacity(flow.blocks.len()),
        pushed: EntitySet::with_capacity(flow.blocks.len()),
        escaping: EntitySet::with_capacity(flow.blocks.len()),
        pending: vec![Block::new(0)],
    };
    search.run();
    if compile_all {
        // What is left are the blocks behind JUMPDESTs that nobody pushes.
        for (block, shape) in flow.blocks.iter() {
            if shape.is_jumpdest && !search.pushed.contains(block) {
                search.escaping.insert(block);
            }
            search.pending.push(block);
        }
        search.run();
        return Likelihood { cold: EntitySet::new(), escaping: search.escaping };
    }
    let mut cold = failing_blocks(program);
    for block in flow.blocks.keys().filter(|&block| !search.reached.contains(block)) {
        cold.insert(block);
    }
    // Whoever calls the contract meets its first block.
    cold.remove(Block::new(0));
    Likelihood { cold, escaping: search.escaping }
}

/// The search for what is reached.
struct Search<'a> {
    code: &'a [u8],
    decoded: &'a Decoded,
    flow: &'a ControlFlow,
    reached: EntitySet<Block>,
    /// JUMPDESTs whose offset a reached block pushes.
    pushed: EntitySet<Block>,
    escaping: EntitySet<Block>,
    pending: Vec<Block>,
}

impl Search<'_> {
    fn run(&mut self) {
        while let Some(block) = self.pending.pop() {
            if !self.reached.insert(block) {
                continue;
            }
            let shape = &self.flow.blocks[block];
            if shape.ending.reaches_next() {
                self.pending.push(self.flow.next(block));
            }
            let instructions = shape.instructions(self.decoded);
            for (index, instruction) in instructions.iter().enumerate() {
                if let Some(target) = self.pushed_target(instruction) {
                    let next = instructions.get(index + 1).map(|next| next.form);
                    if !matches!(next, Some(Form::Jump | Form::Branch)) {
                        self.escaping.insert(target);
                    }
                    self.pushed.insert(target);
                    self.pending.push(target);
                }
            }
        }
    }

    /// The JUMPDEST whose offset an instruction pushes.
    fn pushed_target(&self, instruction: &Instruction) -> Option<Block> {
        if instruction.form != Form::Push {
            return None;
        }
        let len = match instruction.opcode {
            Opcode::PC | Opcode::CODESIZE => return None,
            opcode => usize::from(opcode.get() - Opcode::PUSH0.get()),
        };
        let start = instruction.pc as usize + 1;
        // A truncated PUSH is the code's last instruction: no jump follows.
        let bytes = self.code.get(start..start + len)?;
        let (high, low) = bytes.split_at(len.saturating_sub(4));
        if high.iter().any(|&byte| byte != 0) {
            return None;
        }
        let pc = low.iter().fold(0, |pc, &byte| pc << 8 | usize::from(byte));
        let number = self.decoded.jumpdests.number(pc)?;
        Some(self.flow.jumpdest_blocks[number])
    }
}

/// The blocks that lead only to failure. Going backwards finds those that fail further on; a
/// second round those that jump back to failure.
fn failing_blocks(program: &Program) -> EntitySet<Block> {
    let mut failing = EntitySet::with_capacity(program.blocks.len());
    for _ in 0..2 {
        for (block, data) in program.blocks.iter().rev() {
            let leads_to_failure = |target: JumpTarget| match target {
                JumpTarget::Block(target) => failing.contains(target),
                JumpTarget::Dynamic(_) => false,
                JumpTarget::Invalid => true,
            };
            let fails = match data.terminator {
                Terminator::FallThrough(next) => failing.contains(next),
                Terminator::Jump(target) => leads_to_failure(target),
                Terminator::Branch { target, otherwise, .. } => {
                    leads_to_failure(target) && failing.contains(otherwise)
                }
                Terminator::Exit(inst) => program.insts[inst].opcode == Opcode::REVERT,
                Terminator::HandOver { .. } => true,
                Terminator::Stop | Terminator::Suspend { .. } => false,
            };
            if fails {
                failing.insert(block);
            }
        }
    }
    failing
}
