//! Entering a chunk, and leaving a block: jumps, branches, ends of the frame.
//!
//! All jumps of a chunk whose target isn't known share one block: it looks the pc up in the
//! program's map and enters by ordinal, through comparisons or one jump table for this chunk's
//! entry points and through the entry table for all others.

use super::{Translator, chunk_signature, trusted};
use crate::{
    abi::offsets,
    words::{Limb, Surroundings},
};
use cranelift_codegen::ir::{
    self, BlockArg, BlockCall, InstBuilder, JumpTableData, condcodes::IntCC, types,
};
use cranevm_passes::{
    analysis::regions::Kind,
    ir::{
        entities::{Block, Entry, Inst, Value},
        program::{JumpTarget, Terminator},
    },
};
use revm_interpreter::InstructionResult;

/// Most entry points of a chunk that are told apart by comparisons. More take a table, whose jump
/// costs as much as some eight instructions.
const MAX_COMPARED_ENTRIES: usize = 4;

/// A block that goes on in another chunk, still to be emitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    block: ir::Block,
    stack: ir::Value,
    gas: ir::Value,
    entry: Entry,
}

/// Where an edge goes.
#[derive(Clone, Copy)]
enum Goal {
    Block(ir::Block),
    /// To a block that isn't compiled, at this pc.
    Cold(u32),
}

/// An edge of the program, with its arguments.
pub(super) struct Edge {
    to: Goal,
    args: Vec<BlockArg>,
    /// Whether the target finds the whole stack in memory.
    needs_memory: bool,
}

impl Edge {
    /// An edge to a block that finds the stack in memory.
    fn written(block: ir::Block, args: &[ir::Value]) -> Self {
        let args = args.iter().copied().map(BlockArg::Value).collect();
        Self { to: Goal::Block(block), args, needs_memory: true }
    }
}

/// One way out of a Cranelift branch.
struct Branch {
    block: ir::Block,
    args: Vec<BlockArg>,
}

/// Operands of a terminator, read before the stack is written.
struct Operands {
    condition: Option<ir::Value>,
    target: Option<(ir::Value, ir::Value)>,
}

impl Translator<'_, '_> {
    /// The instruction that the terminator executes, if it does.
    pub(super) fn last_of_terminator(&self, block: Block) -> Option<Inst> {
        match self.program.blocks[block].terminator {
            Terminator::Exit(inst) | Terminator::Suspend { inst, .. } => Some(inst),
            _ => None,
        }
    }

    /// Emits the chunk's head: goes to the entry point with the ordinal. Returns the block
    /// `(stack top, gas, ordinal)` that dynamic jumps go to.
    pub(super) fn emit_entry(
        &mut self,
        stack: ir::Value,
        gas: ir::Value,
        ordinal: ir::Value,
    ) -> ir::Block {
        let enter = self.b.create_block();
        let [p_stack, p_gas, p_ordinal] =
            [types::I64, types::I64, types::I32].map(|ty| self.b.append_block_param(enter, ty));
        self.b.ins().jump(enter, &[stack, gas, ordinal].map(BlockArg::Value));

        self.b.switch_to_block(enter);
        let span = self.program.chunks[self.chunk].entries;
        let elsewhere = self.b.create_block();
        let args = [p_stack, p_gas].map(BlockArg::Value);
        let first = self.program.chunks[self.chunk].blocks.start;
        let targets: Vec<ir::Block> = (span.start..span.end)
            .map(|entry| {
                let block = self.program.entries[Entry::from_u32(entry)].block;
                let clif = self.blocks[(block.as_u32() - first) as usize];
                clif.expect("an entry point is a leader")
            })
            .collect();
        let index = if span.start == 0 {
            p_ordinal
        } else {
            self.b.ins().iadd_imm_s(p_ordinal, -i64::from(span.start))
        };
        if (1..=MAX_COMPARED_ENTRIES).contains(&targets.len()) {
            self.branch_by_comparisons(index, &targets, args, elsewhere);
        } else {
            self.branch_by_table(index, &targets, args, elsewhere);
        }

        self.b.switch_to_block(elsewhere);
        self.enter_chunk(p_stack, p_gas, p_ordinal);
        enter
    }

    /// Goes to the block of this index, with these arguments; `elsewhere`, without any, if there is
    /// none.
    fn branch_by_table(
        &mut self,
        index: ir::Value,
        targets: &[ir::Block],
        args: [BlockArg; 2],
        elsewhere: ir::Block,
    ) {
        let pool = &mut self.b.func.dfg.value_lists;
        let default = BlockCall::new(elsewhere, [], pool);
        let calls: Vec<_> = targets.iter().map(|&to| BlockCall::new(to, args, pool)).collect();
        let table = self.b.create_jump_table(JumpTableData::new(default, &calls));
        self.b.ins().br_table(index, table);
    }

    /// As [`branch_by_table`](Self::branch_by_table), for a few targets, one at least.
    fn branch_by_comparisons(
        &mut self,
        index: ir::Value,
        targets: &[ir::Block],
        args: [BlockArg; 2],
        elsewhere: ir::Block,
    ) {
        for (at, &target) in targets.iter().enumerate() {
            let is_last = at + 1 == targets.len();
            let next = if is_last { elsewhere } else { self.b.create_block() };
            let is_it = self.b.ins().icmp_imm_u(IntCC::Equal, index, at as i64);
            self.b.ins().brif(is_it, target, &args, next, &[]);
            self.b.switch_to_block(next);
        }
    }

    /// Jumps to the chunk of an entry point, through the entry table.
    fn enter_chunk(&mut self, stack: ir::Value, gas: ir::Value, ordinal: ir::Value) {
        let table = self.load_context(types::I64, offsets::ENTRY_TABLE);
        let index = self.b.ins().uextend(types::I64, ordinal);
        let offset = self.b.ins().ishl_imm_s(index, 3);
        let slot = self.b.ins().iadd(table, offset);
        let chunk = self.b.ins().load(types::I64, trusted(), slot, 0);
        self.tail_call(chunk, stack, gas, ordinal);
    }

    /// Jumps to a chunk.
    fn tail_call(
        &mut self,
        chunk: ir::Value,
        stack: ir::Value,
        gas: ir::Value,
        ordinal: ir::Value,
    ) {
        let signature = match self.tail_signature {
            Some(signature) => signature,
            None => {
                let signature = self.b.import_signature(chunk_signature());
                *self.tail_signature.insert(signature)
            }
        };
        let args = [stack, gas, ordinal];
        self.b.ins().return_call_indirect(signature, chunk, &args);
    }

    /// Emits the blocks that go on in other chunks.
    pub(super) fn emit_links(&mut self) {
        for link in std::mem::take(&mut self.links) {
            self.b.switch_to_block(link.block);
            let table = self.load_context(types::I64, offsets::ENTRY_TABLE);
            let ordinal = link.entry.as_u32();
            let chunk = self.b.ins().load(types::I64, trusted(), table, 8 * ordinal as i32);
            let ordinal = self.b.ins().iconst(types::I32, i64::from(ordinal));
            self.tail_call(chunk, link.stack, link.gas, ordinal);
        }
    }

    /// Emits the block of dynamic jumps, if the chunk has any.
    pub(super) fn emit_jump(&mut self, enter: ir::Block) {
        let Some(block) = self.exits.jump else { return };
        self.b.switch_to_block(block);
        let &[stack, gas, low, high] = self.b.block_params(block) else { unreachable!("four") };
        let len = i64::from(self.program.code_len);
        let beyond = self.b.ins().icmp_imm_s(IntCC::UnsignedGreaterThanOrEqual, low, len);
        let [narrow, lookup, found] = [(); 3].map(|()| self.b.create_block());
        let end = self.end_block();
        let status = InstructionResult::InvalidJump as i64;
        let status = self.b.ins().iconst(types::I64, status);
        let end_args = [gas, status].map(BlockArg::Value);
        self.b.ins().brif(high, end, &end_args, narrow, &[]);

        self.b.switch_to_block(narrow);
        self.b.ins().brif(beyond, end, &end_args, lookup, &[]);

        self.b.switch_to_block(lookup);
        let granules = self.load_context(types::I64, offsets::GRANULES);
        let around = Surroundings::of(low, granules, &mut self.b);
        let is_jumpdest = around.is_jumpdest(&mut self.b);
        self.b.ins().brif(is_jumpdest, found, &[], end, &end_args);

        self.b.switch_to_block(found);
        let rank = around.rank(&mut self.b);
        let ordinals = self.load_context(types::I64, offsets::ORDINALS);
        let offset = self.b.ins().ishl_imm_s(rank, 1);
        let slot = self.b.ins().iadd(ordinals, offset);
        let ordinal = self.b.ins().uload16(types::I32, trusted(), slot, 0);
        self.b.ins().jump(enter, &[stack, gas, ordinal].map(BlockArg::Value));
    }

    /// Emits a block's terminator.
    pub(super) fn terminate(&mut self, block: Block) {
        let program = self.program;
        if self.last_of_terminator(block).is_none() {
            self.disturb(program.blocks[block].end_pc);
        }
        match &program.blocks[block].terminator {
            Terminator::FallThrough(next) => {
                self.flush(block);
                let edge = self.block_edge(*next);
                self.go(&edge);
            }
            Terminator::Jump(target) => {
                let operands = self.operands(None, target);
                self.flush(block);
                let edge = self.target_edge(target, &operands);
                self.go(&edge);
            }
            Terminator::Branch { condition, target, otherwise } => {
                let operands = self.operands(Some(*condition), target);
                self.flush(block);
                let gas = self.gas();
                let taken = self.target_edge(target, &operands);
                if let JumpTarget::Block(to) = *target {
                    self.refine_edge(to, *condition, true);
                }
                let taken = self.written(taken);
                self.state.gas = Some(gas);
                let untaken = self.block_edge(*otherwise);
                self.refine_edge(*otherwise, *condition, false);
                let untaken = self.written(untaken);
                let condition = operands.condition.expect("a branch has a condition");
                self.b.ins().brif(
                    condition,
                    taken.block,
                    &taken.args,
                    untaken.block,
                    &untaken.args,
                );
                self.emit_pending_edges();
            }
            Terminator::Stop { pc } => {
                self.flush(block);
                self.write_back();
                self.stop(*pc);
            }
            Terminator::Exit(inst) => {
                self.leave_stack(block);
                let status = self.delegate_last(*inst);
                let fail = self.fail_block();
                self.b.ins().jump(fail, &[BlockArg::Value(status)]);
            }
            Terminator::Suspend { inst, continuation } => {
                self.suspend(block, *inst, *continuation);
            }
            Terminator::HandOver { pc, .. } => {
                self.flush(block);
                self.hand_over_at(*pc);
            }
        }
    }

    /// Hands over at a pc, the stack being flushed.
    fn hand_over_at(&mut self, pc: u32) {
        self.write_back();
        let (stack, gas) = (self.stack_at(0), self.gas());
        let pc = self.b.ins().iconst(types::I64, i64::from(pc));
        let hand_over = self.hand_over_block();
        self.b.ins().jump(hand_over, &[stack, gas, pc].map(BlockArg::Value));
    }

    /// CALL, CREATE and their kin: with the whole stack in memory, for the frame may be
    /// resumed by either engine.
    fn suspend(&mut self, block: Block, inst: Inst, continuation: Block) {
        self.leave_stack(block);
        let status = self.delegate_last(inst);
        self.check_status(status);
        self.state.gas = Some(self.load_context(types::I64, offsets::GAS));
        let data = &self.program.insts[inst];
        self.state.height += i32::from(data.height) - data.args.len() as i32 + 1;
        let edge = self.block_edge(continuation);
        self.go(&edge);
    }

    /// Writes the whole stack to memory, for an instruction that ends the block: slots stay
    /// relative to the height that they are relative to.
    fn leave_stack(&mut self, block: Block) {
        let start = self.state.height;
        self.write_stack(block);
        self.write_back();
        self.state.unwritten.clear();
        self.state.carried.clear();
        self.state.height = start;
    }

    /// Writes the stack to memory; from here on, slots are relative to its new top. A block that
    /// goes back to its loop's header keeps the header's words in SSA, others those that are dead.
    fn flush(&mut self, block: Block) {
        self.write_stack(block);
        self.disturb_above(block);
    }

    /// [`flush`](Self::flush), for operands that are still to be read.
    fn write_stack(&mut self, block: Block) {
        let mut in_ssa = self.repeated_slots();
        if in_ssa.is_empty() {
            in_ssa = self.dead_slots(block);
        }
        let in_ssa = self.keep_less(in_ssa);
        self.write_outputs(&in_ssa);
        self.state.height += i32::from(self.program.blocks[block].stack.delta);
        self.disturb_edge();
    }

    /// Goes to an edge, with everything written that the target finds in memory.
    fn go(&mut self, edge: &Edge) {
        match edge.to {
            Goal::Cold(pc) => self.hand_over_at(pc),
            Goal::Block(block) => {
                if edge.needs_memory {
                    self.write_back();
                }
                self.b.ins().jump(block, &edge.args);
            }
        }
    }

    /// Makes an edge of a branch do what it has to in a block of its own: write back what is
    /// unwritten, or hand over.
    fn written(&mut self, edge: Edge) -> Branch {
        match edge.to {
            Goal::Block(block) if !edge.needs_memory || self.state.unwritten.is_empty() => {
                Branch { block, args: edge.args }
            }
            to => {
                let block = self.b.create_block();
                if matches!(to, Goal::Cold(_)) {
                    self.b.set_cold_block(block);
                }
                self.pending_edges.push((block, edge, self.gas()));
                Branch { block, args: Vec::new() }
            }
        }
    }

    /// Emits the blocks of [`written`](Self::written).
    fn emit_pending_edges(&mut self) {
        while let Some((block, edge, gas)) = self.pending_edges.pop() {
            self.b.switch_to_block(block);
            self.state.gas = Some(gas);
            self.go(&edge);
        }
    }

    fn operands(&mut self, condition: Option<Value>, target: &JumpTarget) -> Operands {
        let target = match *target {
            JumpTarget::Dynamic(value) => {
                let word = self.use_word(value);
                let low = word.limbs[0].value(&mut self.b);
                let high = word.high_union(&mut self.b).value(&mut self.b);
                Some((low, high))
            }
            _ => None,
        };
        let condition = condition.map(|value| {
            let word = self.use_word(value);
            match word.union(&mut self.b) {
                Limb::Flag(flag) => flag,
                limb => limb.value(&mut self.b),
            }
        });
        Operands { condition, target }
    }

    /// The edge to a known block.
    fn block_edge(&mut self, to: Block) -> Edge {
        let excess = self.excess_gas(to);
        let data = &self.program.blocks[to];
        if data.chunk == self.chunk && !data.is_cold && matches!(self.kind(to), Kind::Single(_)) {
            // Given back where the way leads, and not before the branch.
            self.note_edge(to, excess);
            let block = Goal::Block(self.clif_block(to));
            return Edge { to: block, args: Vec::new(), needs_memory: false };
        }
        self.return_gas(excess);
        if data.is_cold {
            return Edge { to: Goal::Cold(data.pc), args: Vec::new(), needs_memory: true };
        }
        if data.chunk != self.chunk {
            let entry = data.entry.expect("a block that another chunk goes to is an entry point");
            let (block, stack) = (self.b.create_block(), self.stack_at(0));
            self.links.push(Link { block, stack, gas: self.gas(), entry });
            return Edge::written(block, &[]);
        }
        if let Some(edge) = self.loop_edge(to) {
            return edge;
        }
        let block = self.clif_block(to);
        let gas = self.gas();
        match self.kind(to) {
            Kind::Merge => {
                self.note_edge(to, 0);
                Edge::written(block, &[gas])
            }
            _ => {
                let stack = self.stack_at(0);
                Edge::written(block, &[stack, gas])
            }
        }
    }

    /// The edge to a loop's header within its region: to its second block.
    fn loop_edge(&mut self, to: Block) -> Option<Edge> {
        let index = self.index_of(to);
        let is_repeat = self.repeats[self.current] && self.back_target() == Some(to);
        if self.kind(to) == Kind::Leader && !is_repeat {
            return None;
        }
        let header = self.headers[index].take()?;
        if !is_repeat {
            self.note_edge(to, 0);
        }
        let args = self.loop_arguments(&header);
        let edge = Edge { to: Goal::Block(header.again), args, needs_memory: !is_repeat };
        self.headers[index] = Some(header);
        Some(edge)
    }

    fn target_edge(&mut self, target: &JumpTarget, operands: &Operands) -> Edge {
        match *target {
            JumpTarget::Block(to) => self.block_edge(to),
            JumpTarget::Dynamic(_) => {
                self.return_gas(self.plan.gas_rest);
                let (low, high) = operands.target.expect("read before the stack was written");
                let block = match self.exits.jump {
                    Some(block) => block,
                    None => {
                        let block = self.b.create_block();
                        for _ in 0..4 {
                            self.b.append_block_param(block, types::I64);
                        }
                        *self.exits.jump.insert(block)
                    }
                };
                let args = [self.stack_at(0), self.gas(), low, high];
                Edge::written(block, &args)
            }
            JumpTarget::Invalid => {
                self.return_gas(self.plan.gas_rest);
                let status = self.b.ins().iconst(types::I64, InstructionResult::InvalidJump as i64);
                let args = [self.gas(), status].map(BlockArg::Value).to_vec();
                Edge { to: Goal::Block(self.end_block()), args, needs_memory: false }
            }
        }
    }

    /// Ends the frame at a STOP, the stack being written.
    fn stop(&mut self, pc: u32) {
        // Behind the opcode, as in revm.
        let pc = self.b.ins().iconst(types::I64, i64::from(pc) + 1);
        let (stack, gas, block) = (self.stack_at(0), self.gas(), self.stop_block());
        self.b.ins().jump(block, &[stack, gas, pc].map(BlockArg::Value));
    }
}
