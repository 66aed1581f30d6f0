//! Jump threading: resolves the jumps of internal calls and returns by following them, and copies
//! what they lead to.
//!
//! Compilers turn a call of an internal function into pushing a return address and jumping; the
//! function ends with a jump to what it finds on the stack. Seen from the function alone that jump
//! may go anywhere. Seen from the call it goes to one place. So each block that is entered from
//! outside is followed as a **path**: over jumps whose target is known, and over branches of which
//! only one way doesn't fail, with the JUMPDEST offsets that lie on the stack remembered on the
//! way. What the path meets becomes part of it: over a jump the block goes on (one block of several
//! *segments* of the bytecode), after a branch a *clone* of the block begins.
//!
//! A block becomes part of a path if nothing else refers to it, or if it belongs to a function that
//! is short and calls no other, a return address is on the stack, and the budget lasts. Only such
//! functions are in a path twice, and headers of loops are in none. Where a path ends, the JUMPDEST
//! offsets left on the stack *escape*: a computed jump may go there. What no path comes by and no
//! offset escapes for isn't reached.
//!
//! Copies change nothing: gas, stack bounds, and the pc at which a block hands over are those of
//! the bytecode. That a block isn't reached is a guess; if it is wrong, the jump hands over.
//!
//! Cost: linear in the instructions, by the budget.

#[cfg(test)]
mod tests;

use crate::analysis::control_flow::{BlockShape, ControlFlow, Ending};
use crate::analysis::failure::failing_blocks;
use crate::analysis::references::{References, find_references};
use crate::analysis::weight::MAX_BLOCK_WEIGHT;
use crate::decode::{Decoded, Form, Instruction};
use crate::ir::entities::Block;
use crate::ir::program::Span;
use cranelift_entity::{
    EntityRef, EntitySet, PrimaryMap, SecondaryMap, packed_option::PackedOption,
};
use std::collections::VecDeque;

/// Limits of copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLimits {
    /// Most instructions of a function that is copied to its calls.
    pub copied_function: u32,
    /// Most instructions copied in all, in percent of those of the code; short code may double.
    pub growth_percent: u32,
    /// Most instructions in a path.
    pub path: u32,
}

impl ThreadLimits {
    /// Nothing is copied: only what has no other reference becomes part of a path.
    pub const MOVE_ONLY: Self = Self { copied_function: 0, growth_percent: 0, path: 1000 };

    /// Jumps aren't followed.
    pub const NONE: Self = Self { copied_function: 0, growth_percent: 0, path: 0 };

    /// Instructions that may be copied from code of so many.
    fn budget(&self, instructions: usize) -> u64 {
        let instructions = instructions as u64;
        let share = u64::from(self.growth_percent) * instructions / 100;
        if self.growth_percent == 0 { 0 } else { share.max(instructions.min(SHORT_CODE)) }
    }
}

impl Default for ThreadLimits {
    fn default() -> Self {
        Self { copied_function: 48, growth_percent: 40, path: 1000 }
    }
}

/// Instructions of short code.
const SHORT_CODE: u64 = 200;

/// How deep below the top the JUMPDEST offsets on the stack are remembered in clones.
const MAX_DEPTH: usize = 32;

/// The blocks with their paths, and what is guessed about them.
#[derive(Debug)]
pub(crate) struct Threaded {
    /// The blocks: each path in one piece, where its first block was.
    pub(crate) flow: ControlFlow,
    /// Blocks that aren't reached, or only fail.
    pub(crate) cold: EntitySet<Block>,
    /// Blocks that computed jumps may reach.
    pub(crate) escaping: EntitySet<Block>,
}

/// Follows the paths of a program. With `compile_all`, nothing is cold, and what isn't reached
/// escapes.
pub(crate) fn thread_jumps(
    code: &[u8],
    decoded: &Decoded,
    flow: ControlFlow,
    limits: ThreadLimits,
    compile_all: bool,
) -> Threaded {
    let references = find_references(code, decoded, &flow);
    let failing = failing_blocks(decoded, &flow, &references);
    let count = flow.blocks.len();
    let mut threader = Threader {
        decoded,
        flow: &flow,
        references: &references,
        failing: &failing,
        limits,
        budget: limits.budget(decoded.instructions.len()),
        reached: EntitySet::with_capacity(count),
        escaping: EntitySet::with_capacity(count),
        pending: Vec::new(),
        paths: SecondaryMap::with_capacity(count),
        visited: SecondaryMap::with_capacity(count),
        segments: Vec::with_capacity(count),
        constants: Vec::new(),
    };
    threader.reach(Block::new(0));
    threader.run();
    if compile_all {
        for (block, shape) in flow.blocks.iter() {
            // What has become part of a path was reached too.
            if shape.is_jumpdest && threader.visited[block].is_none() {
                threader.escaping.insert(block);
                threader.reach(block);
                threader.run();
            }
        }
    }
    threader.finish(compile_all)
}

/// By block of the bytecode: the number of its path's first block.
type Places = PrimaryMap<Block, Block>;

/// A block of a path. Blocks are named by their number in the path where it is entered from, and
/// else by that in the bytecode.
#[derive(Clone, Debug)]
struct Step {
    shape: BlockShape,
    /// Which of the shape's ways out leads to the next step of the path.
    continues: Option<Way>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Next,
    Target,
}

struct Threader<'a> {
    decoded: &'a Decoded,
    flow: &'a ControlFlow,
    references: &'a References<'a>,
    failing: &'a EntitySet<Block>,
    limits: ThreadLimits,
    /// Instructions that may still be copied.
    budget: u64,
    reached: EntitySet<Block>,
    escaping: EntitySet<Block>,
    pending: Vec<Block>,
    /// By first block: the steps of the path.
    paths: SecondaryMap<Block, Vec<Step>>,
    /// By block: the first block of the last path that it became part of.
    visited: SecondaryMap<Block, PackedOption<Block>>,
    segments: Vec<Span>,
    constants: Vec<(i16, u32)>,
}

/// The stack along a path, as far as it holds offsets of JUMPDESTs; the top is last.
#[derive(Default)]
struct Offsets(VecDeque<Option<u32>>);

impl Offsets {
    fn pop(&mut self) -> Option<u32> {
        self.0.pop_back().flatten()
    }

    fn push(&mut self, offset: Option<u32>) {
        self.0.push_back(offset);
    }

    fn peek(&self, depth: usize) -> Option<u32> {
        let index = self.0.len().checked_sub(depth + 1)?;
        self.0[index]
    }

    fn exchange(&mut self, upper: usize, lower: usize) {
        let (upper_word, lower_word) = (self.peek(upper), self.peek(lower));
        if upper_word != lower_word {
            self.set(upper, lower_word);
            self.set(lower, upper_word);
        }
    }

    fn set(&mut self, depth: usize, offset: Option<u32>) {
        while self.0.len() <= depth {
            self.0.push_front(None);
        }
        let index = self.0.len() - 1 - depth;
        self.0[index] = offset;
    }

    /// Forgets what lies deep.
    fn truncate(&mut self) {
        let excess = self.0.len().saturating_sub(MAX_DEPTH);
        self.0.drain(..excess);
    }

    fn any(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    /// The slots that hold offsets, counted from the height of the stack, ascending.
    fn known(&self) -> impl Iterator<Item = (i16, u32)> + '_ {
        let top = self.0.len() as i16;
        let slots = self.0.iter().enumerate();
        slots.filter_map(move |(index, &offset)| Some((index as i16 - top, offset?)))
    }
}

/// A function that calls no other.
#[derive(Clone, Copy, Default)]
struct Leaf {
    instructions: u32,
    blocks: u32,
}

/// A path while it is followed.
struct Path {
    offsets: Offsets,
    steps: Vec<Step>,
    /// Where it begins.
    first: Block,
    /// Blocks still to come of the function that is being copied.
    leaf_blocks: u32,
    instructions: u32,
    /// Weight of the last step.
    weight: u32,
}

impl Threader<'_> {
    fn reach(&mut self, block: Block) {
        if self.reached.insert(block) {
            self.pending.push(block);
        }
    }

    fn run(&mut self) {
        while let Some(block) = self.pending.pop() {
            self.paths[block] = self.follow(block);
        }
    }

    fn follow(&mut self, first: Block) -> Vec<Step> {
        let mut path = Path {
            offsets: Offsets::default(),
            steps: Vec::new(),
            first,
            leaf_blocks: 0,
            instructions: 0,
            weight: 0,
        };
        self.begin_step(&mut path, first);
        let mut at = first;
        self.visited[first] = Some(first).into();
        while let Some(next) = self.pass(&mut path, at) {
            self.visited[next] = Some(first).into();
            at = next;
        }
        path.steps
    }

    /// Begins a block of the path: the first, or a clone.
    fn begin_step(&mut self, path: &mut Path, at: Block) {
        let original = self.flow.blocks[at];
        let is_clone = !path.steps.is_empty();
        let start = self.constants.len() as u32;
        path.offsets.truncate();
        path.weight = 0;
        self.constants.extend(path.offsets.known());
        path.steps.push(Step {
            shape: BlockShape {
                segments: Span {
                    start: self.segments.len() as u32,
                    end: self.segments.len() as u32,
                },
                constants: Span { start, end: self.constants.len() as u32 },
                is_jumpdest: original.is_jumpdest && !is_clone,
                is_continuation: original.is_continuation && !is_clone,
                is_clone,
                ..original
            },
            continues: None,
        });
    }

    /// Appends a block of the bytecode to the path's last step; the block that the path goes on
    /// with, if it does.
    fn pass(&mut self, path: &mut Path, at: Block) -> Option<Block> {
        let original = self.flow.blocks[at];
        self.segments.push(self.flow.segments[original.segments.start as usize]);
        let Path { offsets, steps, weight, .. } = path;
        let step = steps.last_mut().expect("a path has a step");
        step.shape.segments.end += 1;
        step.shape.ending = original.ending;
        step.shape.next = original.next;
        path.instructions += self.flow.instruction_count(&original);
        path.leaf_blocks = path.leaf_blocks.saturating_sub(1);
        for instruction in self.flow.instructions(self.decoded, &original) {
            *weight += instruction.opcode.weight();
            self.simulate(offsets, instruction);
        }
        let next = original.next.expand();
        match original.ending {
            Ending::FallThrough => self.go_on(path, next?),
            Ending::Jump => {
                let target = self.pop_target(offsets);
                match target {
                    Some(target) => self.go_on(path, target),
                    None => self.end(path, &[]),
                }
            }
            Ending::Branch => {
                let target = self.pop_target(offsets);
                offsets.pop();
                self.branch(path, target, next?)
            }
            Ending::Suspend | Ending::Foreign => self.end(path, &[next?]),
            Ending::Stop | Ending::Exit | Ending::HandOver => None,
        }
    }

    /// The block whose offset is on top of the stack.
    fn pop_target(&self, offsets: &mut Offsets) -> Option<Block> {
        let number = self.decoded.jumpdests.number(offsets.pop()? as usize)?;
        Some(self.flow.jumpdest_blocks[number])
    }

    /// What an instruction does to the offsets, but for the end of a block.
    fn simulate(&mut self, offsets: &mut Offsets, instruction: &Instruction) {
        match instruction.form {
            Form::Push => offsets.push(self.references.pushed(instruction)),
            Form::Pop => {
                offsets.pop();
            }
            Form::Dup(depth) => offsets.push(offsets.peek(depth.into())),
            Form::Exchange(upper, lower) => offsets.exchange(upper.into(), lower.into()),
            Form::Compute => {
                let Some(info) = instruction.opcode.info() else { return };
                for _ in 0..info.inputs {
                    // Functions may be values: their offsets are masked, stored, loaded. Short
                    // ones are rather numbers.
                    if let Some(offset) = offsets.pop().filter(|&offset| offset > 0xff) {
                        self.escape(offset);
                    }
                }
                if info.outputs != 0 {
                    offsets.push(None);
                }
            }
            Form::JumpDest
            | Form::Jump
            | Form::Branch
            | Form::Stop
            | Form::Exit
            | Form::Suspend
            | Form::HandOver
            | Form::Foreign => {}
        }
    }

    /// Goes on with a block within the same step, or ends the path.
    fn go_on(&mut self, path: &mut Path, to: Block) -> Option<Block> {
        let goes_on = path.weight < MAX_BLOCK_WEIGHT && self.may_copy(path, to);
        if goes_on { Some(to) } else { self.end(path, &[to]) }
    }

    /// Goes on with a clone of the one block that doesn't fail, or ends the path.
    fn branch(&mut self, path: &mut Path, target: Option<Block>, next: Block) -> Option<Block> {
        let target_fails = target.is_some_and(|target| self.failing.contains(target));
        let way = match (target, self.failing.contains(next)) {
            (Some(_), false) if target_fails => Some((Way::Next, next)),
            (Some(target), true) => Some((Way::Target, target)),
            _ => None,
        };
        match way {
            Some((way, to)) if path.offsets.any() && self.may_copy(path, to) => {
                for other in target.into_iter().chain([next]).filter(|&other| other != to) {
                    self.reach(other);
                }
                path.steps.last_mut()?.continues = Some(way);
                self.begin_step(path, to);
                Some(to)
            }
            _ => {
                let fails = target_fails && self.failing.contains(next);
                if fails {
                    path.offsets = Offsets::default();
                }
                let successors: Vec<Block> = target.into_iter().chain([next]).collect();
                self.end(path, &successors)
            }
        }
    }

    /// Whether a block becomes part of the path; takes from the budget.
    fn may_copy(&mut self, path: &mut Path, block: Block) -> bool {
        let length = self.flow.instruction_count(&self.flow.blocks[block]);
        if self.failing.contains(block)
            || self.references.is_loop_header(block)
            || path.instructions + length > self.limits.path
        {
            return false;
        }
        if path.leaf_blocks > 0 {
            return true;
        }
        if self.references.count(block) == 1 {
            // Unless what refers to it was copied.
            return match self.visited[block].expand() {
                None => true,
                Some(first) => first != path.first && self.take(length),
            };
        }
        let Some(leaf) = self.leaf(block).filter(|_| path.offsets.any()) else { return false };
        let is_worth_it = self.take(leaf.instructions);
        if is_worth_it {
            path.leaf_blocks = leaf.blocks;
        }
        is_worth_it
    }

    /// Takes instructions from the budget, if it has as many.
    fn take(&mut self, instructions: u32) -> bool {
        let left = self.budget.checked_sub(instructions.into());
        self.budget = left.unwrap_or(self.budget);
        left.is_some()
    }

    /// The function that begins at a block, if it is short and calls no other.
    fn leaf(&self, first: Block) -> Option<Leaf> {
        let (mut leaf, mut at) = (Leaf::default(), first);
        loop {
            let shape = &self.flow.blocks[at];
            leaf.instructions += self.flow.instruction_count(shape);
            leaf.blocks += 1;
            if leaf.instructions > self.limits.copied_function
                || self.references.is_loop_header(at)
                || self.references.is_call(at)
            {
                return None;
            }
            let target = self.references.static_target(self.flow, shape);
            let next = shape.next.expand();
            let lives = |block: &Block| !self.failing.contains(*block);
            at = match shape.ending {
                Ending::Jump if target.is_none() => return Some(leaf),
                Ending::Jump | Ending::FallThrough | Ending::Branch => {
                    let mut living = target.into_iter().chain(next).filter(lives);
                    let only = living.next()?;
                    if living.next().is_some() {
                        return None;
                    }
                    only
                }
                _ => return None,
            };
        }
    }

    /// Ends the path: its successors are entered from outside, and the offsets on the stack escape.
    fn end(&mut self, path: &mut Path, successors: &[Block]) -> Option<Block> {
        for (_, offset) in std::mem::take(&mut path.offsets).known() {
            self.escape(offset);
        }
        successors.iter().for_each(|&successor| self.reach(successor));
        None
    }

    fn escape(&mut self, offset: u32) {
        if let Some(number) = self.decoded.jumpdests.number(offset as usize) {
            let block = self.flow.jumpdest_blocks[number];
            self.escaping.insert(block);
            self.reach(block);
        }
    }

    /// Puts the paths in order of their first blocks.
    fn finish(mut self, compile_all: bool) -> Threaded {
        let old = self.flow;
        let mut places = Places::with_capacity(old.blocks.len());
        let mut next = 0;
        for block in old.blocks.keys() {
            places.push(Block::from_u32(next));
            next += self.paths[block].len().max(1) as u32;
        }
        let mut blocks = PrimaryMap::with_capacity(next as usize);
        let mut cold = EntitySet::with_capacity(next as usize);
        let mut escaping = EntitySet::with_capacity(next as usize);
        for (block, &original) in old.blocks.iter() {
            let place = places[block];
            let fails = self.failing.contains(block) && !compile_all;
            if fails || !self.reached.contains(block) {
                cold.insert(place);
            }
            if self.escaping.contains(block) {
                escaping.insert(place);
            }
            if self.paths[block].is_empty() {
                let start = self.segments.len() as u32;
                self.segments.push(old.segments[original.segments.start as usize]);
                let segments = Span { start, end: start + 1 };
                let next = place_of(&places, original.next);
                blocks.push(BlockShape { segments, next, ..original });
            }
            for Step { mut shape, continues } in std::mem::take(&mut self.paths[block]) {
                shape.next = place_of(&places, shape.next);
                let following = PackedOption::from(Block::from_u32(blocks.len() as u32 + 1));
                match continues {
                    Some(Way::Next) => shape.next = following,
                    Some(Way::Target) => shape.target = following,
                    None => {}
                }
                blocks.push(shape);
            }
        }
        // Whoever calls the contract meets its first block.
        cold.remove(Block::new(0));
        let jumpdest_blocks = old.jumpdest_blocks.iter().map(|&block| places[block]).collect();
        let Self { segments, constants, .. } = self;
        let flow = ControlFlow { blocks, segments, constants, jumpdest_blocks };
        Threaded { flow, cold, escaping }
    }
}

fn place_of(places: &Places, block: PackedOption<Block>) -> PackedOption<Block> {
    block.expand().map(|block| places[block]).into()
}
