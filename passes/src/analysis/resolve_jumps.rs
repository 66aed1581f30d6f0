//! Predicts where computed jumps go: above all, where internal functions return to.
//!
//! A return address is a constant that a caller leaves on the stack. The analysis follows such
//! constants along static edges, and along the jumps that it has predicted, through an abstract
//! stack for each block: of each of the top words at the block's entry, the set of the JUMPDESTs
//! that it may be, or nothing. A block entered from several places has the union; a set that grows
//! beyond [`MAX_LIKELY_TARGETS`] tells nothing any more.
//!
//! The result is a prediction, not a fact: contexts are mixed, jumps of which nothing is known are
//! taken to go nowhere, and the work is bounded by giving up. Who uses it must compare at run time,
//! and be ready for any other target.
//!
//! Cost: each block is visited a bounded number of times, and a visit takes constant time but for
//! the sets' bounded sizes.

use crate::analysis::control_flow::ControlFlow;
use crate::decode::JumpDests;
use crate::ir::entities::{Block, Value};
use crate::ir::opcode::Opcode;
use crate::ir::program::{JumpTarget, MAX_LIKELY_TARGETS, Program, Span, Terminator, ValueDef};
use alloy_primitives::U256;
use cranelift_entity::{EntityRef, SecondaryMap, packed_option::PackedOption};
use std::collections::VecDeque;

/// Words of the stack that are followed.
const DEPTH: usize = 24;

/// Visits of a block after which words that still change are given up.
const PATIENCE: u8 = 8;

/// Most visits of a block.
const MAX_VISITS: u8 = 2 * PATIENCE;

/// What the analysis found.
#[derive(Debug, Default)]
pub(crate) struct LikelyTargets {
    /// By block, its part of `pool`.
    pub(crate) spans: Vec<Span>,
    /// The targets, ascending for each block.
    pub(crate) pool: Vec<Block>,
    /// Visits of blocks that it took.
    #[cfg_attr(not(test), expect(dead_code, reason = "what tests count"))]
    pub(crate) visits: u32,
}

/// Predicts the targets of all computed jumps.
pub(crate) fn resolve_jumps(
    program: &Program,
    flow: &ControlFlow,
    jumpdests: &JumpDests,
) -> LikelyTargets {
    let has_computed =
        program.blocks.values().any(|data| computed_target(&data.terminator).is_some());
    if !has_computed {
        let spans = vec![Span::default(); program.blocks.len()];
        return LikelyTargets { spans, ..LikelyTargets::default() };
    }
    let mut resolver = Resolver {
        program,
        flow,
        jumpdests,
        sets: Sets { blocks: program.blocks.len() as u32, sets: Vec::new() },
        entered: SecondaryMap::with_capacity(program.blocks.len()),
        stacks: Vec::new(),
        queue: VecDeque::new(),
        visits: 0,
    };
    resolver.enter(Block::new(0), &[Set::UNKNOWN; DEPTH]);
    while let Some(block) = resolver.queue.pop_front() {
        resolver.visit(block);
    }
    resolver.finish()
}

/// The computed target of a jump or branch.
fn computed_target(terminator: &Terminator) -> Option<Value> {
    match *terminator {
        Terminator::Jump(JumpTarget::Dynamic(value))
        | Terminator::Branch { target: JumpTarget::Dynamic(value), .. } => Some(value),
        _ => None,
    }
}

/// A set of blocks: unknown, of one block, or one of [`Sets::sets`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set(u32);

impl Set {
    /// Any word.
    const UNKNOWN: Self = Self(0);

    /// The set of one block.
    fn of(block: Block) -> Self {
        Self(block.as_u32() + 1)
    }
}

/// The sets of several blocks.
struct Sets {
    /// Number of blocks of the program: sets of one block have no entry in `sets`.
    blocks: u32,
    /// Ascending blocks, ended by `None`.
    sets: Vec<[PackedOption<Block>; MAX_LIKELY_TARGETS]>,
}

impl Sets {
    /// The blocks of a set, ascending; none of the unknown set.
    fn blocks(&self, set: Set) -> impl Iterator<Item = Block> + use<> {
        let mut blocks = [PackedOption::default(); MAX_LIKELY_TARGETS];
        match set.0.checked_sub(self.blocks + 1) {
            Some(index) => blocks = self.sets[index as usize],
            None if set == Set::UNKNOWN => {}
            None => blocks[0] = Block::from_u32(set.0 - 1).into(),
        }
        blocks.into_iter().map_while(PackedOption::expand)
    }

    /// The union of two sets; `a` itself if it has all of `b`.
    fn union(&mut self, a: Set, b: Set) -> Set {
        if a == b || a == Set::UNKNOWN {
            return a;
        }
        if b == Set::UNKNOWN {
            return b;
        }
        let mut union = [PackedOption::default(); MAX_LIKELY_TARGETS];
        let (mut left, mut right) = (self.blocks(a).peekable(), self.blocks(b).peekable());
        let (mut len, mut is_new) = (0, false);
        loop {
            let next = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(&l), r) if r.is_none_or(|&r| l <= r) => {
                    right.next_if_eq(&l);
                    left.next()
                }
                _ => {
                    is_new = true;
                    right.next()
                }
            };
            let Some(place) = union.get_mut(len) else { return Set::UNKNOWN };
            *place = next.into();
            len += 1;
        }
        if !is_new {
            return a;
        }
        self.sets.push(union);
        Set(self.blocks + self.sets.len() as u32)
    }
}

/// The top words of a stack, the topmost first.
type AbstractStack = [Set; DEPTH];

/// What is known of a block that is entered.
#[derive(Clone, Copy, Debug, Default)]
struct Entered {
    /// Index of its stack plus one; zero if the block isn't entered.
    stack: u32,
    visits: u8,
    is_queued: bool,
    /// What its computed jump goes to.
    targets: Set,
}

struct Resolver<'a> {
    program: &'a Program,
    flow: &'a ControlFlow,
    jumpdests: &'a JumpDests,
    sets: Sets,
    entered: SecondaryMap<Block, Entered>,
    stacks: Vec<AbstractStack>,
    queue: VecDeque<Block>,
    visits: u32,
}

impl Resolver<'_> {
    /// Adds a way to enter a block with a stack.
    fn enter(&mut self, block: Block, stack: &AbstractStack) {
        let block = self.program.goal(block);
        let entered = &mut self.entered[block];
        let mut has_changed = false;
        match entered.stack.checked_sub(1) {
            None => {
                self.stacks.push(*stack);
                entered.stack = self.stacks.len() as u32;
                has_changed = true;
            }
            Some(index) => {
                for (known, &word) in self.stacks[index as usize].iter_mut().zip(stack) {
                    let union = self.sets.union(*known, word);
                    if union != *known {
                        has_changed = true;
                        *known = if entered.visits < PATIENCE { union } else { Set::UNKNOWN };
                    }
                }
            }
        }
        if has_changed && !entered.is_queued && entered.visits < MAX_VISITS {
            entered.is_queued = true;
            self.queue.push_back(block);
        }
    }

    /// Goes through a block, and enters those after it.
    fn visit(&mut self, block: Block) {
        self.visits += 1;
        let entered = &mut self.entered[block];
        entered.is_queued = false;
        entered.visits += 1;
        let before = self.stacks[entered.stack as usize - 1];
        let after = self.stack_after(block, &before);
        let terminator = &self.program.blocks[block].terminator;
        if let Terminator::Suspend { inst, continuation } = *terminator {
            let args = self.program.insts[inst].args.len();
            let mut resumed = [Set::UNKNOWN; DEPTH];
            resumed[1..].iter_mut().zip(&after[args..]).for_each(|(word, &below)| *word = below);
            return self.enter(continuation, &resumed);
        }
        if let Some(next) = terminator.next_block() {
            self.enter(next, &after);
        }
        match *terminator {
            Terminator::Jump(JumpTarget::Block(target))
            | Terminator::Branch { target: JumpTarget::Block(target), .. } => {
                self.enter(target, &after);
            }
            Terminator::Jump(JumpTarget::Dynamic(value))
            | Terminator::Branch { target: JumpTarget::Dynamic(value), .. } => {
                let targets = self.set_of(value, &before);
                self.entered[block].targets = targets;
                for target in self.sets.blocks(targets) {
                    self.enter(target, &after);
                }
            }
            _ => {}
        }
    }

    /// The stack at a block's end.
    fn stack_after(&self, block: Block, before: &AbstractStack) -> AbstractStack {
        let delta = self.program.blocks[block].stack.delta;
        let mut outputs = self.program.outputs(block).iter().rev().peekable();
        std::array::from_fn(|depth| {
            let slot = delta - 1 - depth as i16;
            match outputs.next_if(|output| output.slot == slot) {
                Some(output) => self.set_of(output.value, before),
                None => word_at(slot, before),
            }
        })
    }

    /// What a value may be.
    fn set_of(&self, value: Value, before: &AbstractStack) -> Set {
        match self.program.values[value].def {
            ValueDef::Input(slot) => word_at(slot, before),
            ValueDef::Const(word) => self.target(word).map_or(Set::UNKNOWN, Set::of),
            ValueDef::Result(inst) => {
                // A mask that leaves every pc as it is, as compilers put on function pointers.
                let masked = |value: Value, mask: Value| {
                    let mask = self.program.as_const(mask)?;
                    let keeps = U256::from(self.program.code_len).bit_len() <= mask.trailing_ones();
                    match self.program.values[value].def {
                        ValueDef::Input(slot) if keeps => Some(word_at(slot, before)),
                        _ => None,
                    }
                };
                match *self.program.args(inst) {
                    [x, y] if self.program.insts[inst].opcode == Opcode::AND => {
                        masked(x, y).or_else(|| masked(y, x)).unwrap_or(Set::UNKNOWN)
                    }
                    _ => Set::UNKNOWN,
                }
            }
            ValueDef::Unused => Set::UNKNOWN,
        }
    }

    /// The block of a JUMPDEST.
    fn target(&self, pc: U256) -> Option<Block> {
        let number = self.jumpdests.number(usize::try_from(pc).ok()?)?;
        Some(self.flow.jumpdest_blocks[number])
    }

    fn finish(self) -> LikelyTargets {
        let mut pool = Vec::new();
        let spans = self
            .program
            .blocks
            .keys()
            .map(|block| {
                let start = pool.len() as u32;
                pool.extend(self.sets.blocks(self.entered[block].targets));
                Span { start, end: pool.len() as u32 }
            })
            .collect();
        LikelyTargets { spans, pool, visits: self.visits }
    }
}

/// The word in a slot at a block's entry.
fn word_at(slot: i16, before: &AbstractStack) -> Set {
    usize::try_from(-1 - i32::from(slot))
        .ok()
        .and_then(|depth| before.get(depth))
        .copied()
        .unwrap_or(Set::UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::ir::opcode::OpcodeSet;
    use crate::sections::stack::bound_stack;
    use crate::transform::lift_stack::lift_stack;
    use crate::{PassOptions, PassSet, ThreadLimits, analyze};
    use revm_primitives::hardfork::SpecId;

    /// Code of parts that are joined, in which a byte `0xc0 + n` after PUSH2 stands for the pc of
    /// the n-th part: `PUSH2 0x00cn`.
    fn assemble(parts: &[Vec<u8>]) -> Vec<u8> {
        let starts: Vec<u16> = parts
            .iter()
            .scan(0, |pc, part| {
                let start = *pc;
                *pc += part.len() as u16;
                Some(start)
            })
            .collect();
        let mut code = parts.concat();
        for at in 0..code.len() - 2 {
            if let [0x61, 0, part @ 0xc0..=0xff] = code[at..at + 3] {
                code[at + 1..at + 3]
                    .copy_from_slice(&starts[usize::from(part - 0xc0)].to_be_bytes());
            }
        }
        code
    }

    /// Calls of a function, the last part, from as many places, one after the other. `leave` is
    /// what it does before it jumps to the word on top.
    fn calls(count: u8, leave: &[u8]) -> Vec<u8> {
        let mut parts = vec![Vec::new()];
        for call in 1..=count {
            // The address of the next part, then that of the function.
            let jump = [0x61, 0, 0xc0 + call, 0x61, 0, 0xc0 + count + 1, 0x56];
            parts.last_mut().expect("a first part").extend(jump);
            parts.push(vec![0x5b]);
        }
        parts.last_mut().expect("a last call").push(0);
        parts.push([&[0x5b], leave, &[0x56]].concat());
        assemble(&parts)
    }

    /// How many targets are predicted for the last block's jump.
    fn predicted(code: &[u8]) -> usize {
        let options = PassOptions {
            thread_limits: ThreadLimits::NONE,
            verify: true,
            ..PassOptions::default()
        };
        let program = analyze(code, &options).expect("a valid program");
        program.likely_targets(program.blocks.last().expect("blocks").0).len()
    }

    #[test]
    fn as_many_targets_as_fit_a_set() {
        for count in 1..=MAX_LIKELY_TARGETS as u8 {
            assert_eq!(predicted(&calls(count, &[])), usize::from(count));
        }
        assert_eq!(predicted(&calls(MAX_LIKELY_TARGETS as u8 + 1, &[])), 0);
    }

    #[test]
    fn addresses_are_followed_where_they_move() {
        // Below a word; through a branch; not through arithmetic.
        assert_eq!(predicted(&calls(2, &[0x34, 0x34, 0x50, 0x90, 0x91, 0x50])), 0);
        assert_eq!(predicted(&calls(2, &[0x34, 0x90])), 2);
        assert_eq!(predicted(&calls(2, &[0x34, 0x34, 0x57])), 2);
        assert_eq!(predicted(&calls(2, &[0x34, 0x01])), 0);
        // Over a call, which replaces its arguments by one word.
        let call = [[0x34].repeat(7), vec![0xf1, 0x50]].concat();
        assert_eq!(predicted(&calls(2, &call)), 2);
        assert_eq!(predicted(&calls(2, &call[..8])), 0);
        // Masked by enough bits, or not.
        assert_eq!(predicted(&calls(2, &[0x61, 0xff, 0xff, 0x16])), 2);
        assert_eq!(predicted(&calls(2, &[0x60, 0x0f, 0x16])), 0);
        // As deep as the stack is followed.
        let depth = |words: usize| [[0x34].repeat(words), vec![0x5b], vec![0x50; words]].concat();
        assert_eq!(predicted(&calls(2, &depth(DEPTH - 1))), 2);
        assert_eq!(predicted(&calls(2, &depth(DEPTH))), 0);
    }

    #[test]
    fn visits_are_bounded() {
        let spec_id = SpecId::OSAKA;
        let every_jump = |len: u16| -> Vec<u8> {
            (0..len).flat_map(|n| [0x5b, 0x61, (n >> 8) as u8, n as u8, 0x57]).collect()
        };
        let returns = [0x5b, 0x60, 0x07, 0x80, 0x56, 0x5b, 0x56].repeat(2000);
        for code in [every_jump(8000), returns, vec![0x5b; 20_000], calls(30, &[0x34, 0x90])] {
            let decoded = decode(&code, spec_id, OpcodeSet::ZERO);
            let flow = crate::analysis::control_flow::find_blocks(&decoded, code.len() as u32, 500);
            let mut program = lift_stack(&code, spec_id, &decoded, &flow, PassSet::NONE);
            bound_stack(&mut program, &decoded, &flow);
            let likely = resolve_jumps(&program, &flow, &decoded.jumpdests);
            assert!(likely.visits <= u32::from(MAX_VISITS) * program.blocks.len() as u32);
            assert!(likely.pool.len() <= MAX_LIKELY_TARGETS * program.blocks.len());
        }
    }
}
