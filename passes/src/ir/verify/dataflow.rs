//! Blocks, instructions and values: order, extent, definitions and uses.

use super::{Defect, Entity, VerifyError, ensure};
use crate::ir::entities::{Block, Inst, Value};
use crate::ir::implementation::Implementation;
use crate::ir::opcode::OpcodeInfo;
use crate::ir::program::{
    BlockData, InstData, JumpTarget, MAX_LIKELY_TARGETS, Output, Program, Span, Terminator,
    ValueDef,
};
use crate::ir::width::{WORD_BITS, constant_bits, result_bits};
use cranelift_entity::{SecondaryMap, packed_option::PackedOption};

/// Most bytes of an immediate: the code's last instruction may lack them.
const MAX_IMMEDIATE: u32 = 32;

/// Verifies everything but bounds, gas, chunks and entries.
pub(super) fn verify(program: &Program) -> Result<(), VerifyError> {
    let mut checker = Checker {
        program,
        owner: SecondaryMap::with_capacity(program.values.len()),
        uses: SecondaryMap::with_capacity(program.values.len()),
        next_arg: 0,
    };
    checker.check_layout()?;
    for (block, data) in program.blocks.iter() {
        checker.check_block(block, data)?;
    }
    let leftover = checker.next_arg as usize != program.arg_pool.len();
    ensure(!leftover, Entity::Program, Defect::Leftover)?;
    checker.check_values()
}

struct Checker<'a> {
    program: &'a Program,
    /// The block that defines or first uses each value.
    owner: SecondaryMap<Value, PackedOption<Block>>,
    /// Uses found of each value.
    uses: SecondaryMap<Value, u32>,
    /// Where the arguments of the next instruction begin.
    next_arg: u32,
}

impl Checker<'_> {
    /// The order of the blocks, and the extent of what they own.
    fn check_layout(&self) -> Result<(), VerifyError> {
        let program = self.program;
        let start = program.blocks.values().next().map(|data| data.pc);
        ensure(start == Some(0), Entity::Program, Defect::NoStart)?;
        let (mut last, mut next_inst, mut next_output, mut next_target) = (None, 0, 0, 0);
        for (block, data) in program.blocks.iter() {
            let is_after = |(pc, end_pc)| pc < data.pc && end_pc <= data.pc;
            let in_order = (data.is_clone || last.is_none_or(is_after))
                && data.pc <= data.end_pc
                && data.end_pc <= program.code_len;
            let entity = Entity::Block(block);
            ensure(in_order, entity, Defect::BytesOutOfOrder)?;
            let follows = follows(data.insts, next_inst, program.insts.len());
            ensure(follows, entity, Defect::InstSpan)?;
            let follows = self::follows(data.outputs, next_output, program.output_pool.len());
            ensure(follows, entity, Defect::OutputSpan)?;
            let targets = data.likely_targets;
            let follows = self::follows(targets, next_target, program.target_pool.len());
            ensure(follows, entity, Defect::TargetSpan)?;
            if !data.is_clone {
                last = Some((data.pc, data.end_pc));
            }
            (next_inst, next_output, next_target) = (data.insts.end, data.outputs.end, targets.end);
        }
        let complete = next_inst as usize == program.insts.len()
            && next_output as usize == program.output_pool.len()
            && next_target as usize == program.target_pool.len();
        ensure(complete, Entity::Program, Defect::Leftover)
    }

    fn check_block(&mut self, block: Block, data: &BlockData) -> Result<(), VerifyError> {
        for index in data.insts.start..data.insts.end {
            let inst = Inst::from_u32(index);
            let inst_data = &self.program.insts[inst];
            let inside = inst_data.pc < self.program.code_len;
            ensure(inside, Entity::Inst(inst), Defect::InstOutside)?;
            self.check_inst(block, data, inst, inst_data)?;
        }
        self.check_terminator(block, data)?;
        self.check_merged(block, data)?;
        self.check_likely_targets(block, data)?;
        self.check_outputs(block)
    }

    /// The targets that are predicted for a block's jump.
    fn check_likely_targets(&self, block: Block, data: &BlockData) -> Result<(), VerifyError> {
        let entity = Entity::Block(block);
        let targets = self.program.likely_targets(block);
        let is_computed = matches!(
            data.terminator,
            Terminator::Jump(JumpTarget::Dynamic(_))
                | Terminator::Branch { target: JumpTarget::Dynamic(_), .. }
        );
        let is_ordered = targets.windows(2).all(|pair| pair[0] < pair[1]);
        let are_few = targets.len() <= MAX_LIKELY_TARGETS && (is_computed || targets.is_empty());
        ensure(is_ordered && are_few, entity, Defect::LikelyTargets)?;
        for &target in targets {
            let data = self.program.blocks.get(target);
            ensure(data.is_some(), entity, Defect::Missing(Entity::Block(target)))?;
            let is_jumpdest = data.is_some_and(|data| data.is_jumpdest);
            ensure(is_jumpdest, entity, Defect::NotJumpDest(target))?;
        }
        Ok(())
    }

    /// What a block is merged into.
    fn check_merged(&self, block: Block, data: &BlockData) -> Result<(), VerifyError> {
        let Some(goal) = data.merged_into.expand() else { return Ok(()) };
        let is_like = goal < block
            && self.program.blocks.get(goal).is_some_and(|goal| {
                let same_bounds = (goal.stack, goal.gas) == (data.stack, data.gas);
                let same_size = goal.insts.len() == data.insts.len()
                    && goal.outputs.len() == data.outputs.len();
                let are_targets = goal.is_jumpdest && data.is_jumpdest;
                goal.merged_into.is_none() && are_targets && same_bounds && same_size
            });
        // Where a frame ends or the interpreter goes on, the offset can be told.
        let both_jump = [block, goal].iter().all(|&block| {
            let data = self.program.blocks.get(block);
            matches!(data.map(|data| &data.terminator), Some(Terminator::Jump(_)))
        });
        ensure(is_like && both_jump, Entity::Block(block), Defect::MergedInto(goal))
    }

    fn check_inst(
        &mut self,
        block: Block,
        block_data: &BlockData,
        inst: Inst,
        data: &InstData,
    ) -> Result<(), VerifyError> {
        let entity = Entity::Inst(inst);
        let is_there = |info: &&OpcodeInfo| {
            info.implementation.is_instruction() && info.is_active(self.program.spec_id)
        };
        let Some(info) = data.opcode.info().filter(is_there) else {
            return Err(VerifyError { entity, defect: Defect::NotAnInstruction });
        };
        let is_last = match block_data.terminator {
            Terminator::Exit(last) | Terminator::Suspend { inst: last, .. } => last == inst,
            _ => false,
        };
        ensure(is_last || info.implementation.stays_inside(), entity, Defect::EndsInside)?;

        let follows = follows(data.args, self.next_arg, self.program.arg_pool.len());
        ensure(follows, entity, Defect::ArgSpan)?;
        self.next_arg = data.args.end;
        let (found, expected) = (data.args.len(), usize::from(info.inputs));
        ensure(found == expected, entity, Defect::ArgCount { found, expected })?;
        for &arg in self.program.args(inst) {
            self.check_use(block, arg, entity)?;
        }

        let suspends = info.implementation == Implementation::Suspend;
        let pushes = info.outputs != 0 && !suspends;
        ensure(data.result.is_some() == pushes, entity, Defect::ResultCount)?;
        if let Some(result) = data.result.expand() {
            let def = self.program.values.get(result).map(|data| &data.def);
            ensure(def.is_some(), entity, Defect::Missing(Entity::Value(result)))?;
            let defined_here = def == Some(&ValueDef::Result(inst));
            ensure(defined_here, entity, Defect::ResultDefinition(result))?;
            self.owner[result] = block.into();
            let values = &self.program.values;
            let least = result_bits(data.opcode, self.program.args(inst), values);
            let bits = values[result].bits;
            ensure(bits >= least, Entity::Value(result), Defect::TooNarrow { bits, least })?;
        }
        Ok(())
    }

    /// Counts a use, and checks that the value is known to the block by then.
    fn check_use(&mut self, block: Block, value: Value, user: Entity) -> Result<(), VerifyError> {
        let Some(data) = self.program.values.get(value) else {
            let defect = Defect::Missing(Entity::Value(value));
            return Err(VerifyError { entity: user, defect });
        };
        self.uses[value] += 1;
        match self.owner[value].expand() {
            Some(owner) => ensure(owner == block, user, Defect::ForeignValue(value)),
            None => {
                self.owner[value] = block.into();
                let is_result = matches!(data.def, ValueDef::Result(_) | ValueDef::Unused);
                ensure(!is_result, user, Defect::UseBeforeDefinition(value))
            }
        }
    }

    fn check_terminator(&mut self, block: Block, data: &BlockData) -> Result<(), VerifyError> {
        let entity = Entity::Block(block);
        match data.terminator {
            Terminator::FallThrough(next) => self.check_next(block, next),
            Terminator::Jump(target) => self.check_target(block, target),
            Terminator::Branch { condition, target, otherwise } => {
                self.check_use(block, condition, entity)?;
                self.check_target(block, target)?;
                self.check_next(block, otherwise)
            }
            Terminator::Stop { pc } => {
                let end = self.program.code_len + MAX_IMMEDIATE;
                ensure(pc <= end, entity, Defect::StopPc(pc))
            }
            Terminator::Exit(inst) => self.check_last_inst(block, inst, Implementation::Exit),
            Terminator::Suspend { inst, continuation } => {
                self.check_last_inst(block, inst, Implementation::Suspend)?;
                self.check_next(block, continuation)
            }
            Terminator::HandOver { pc, continuation } => {
                ensure(pc < self.program.code_len, entity, Defect::HandOverPc(pc))?;
                continuation.expand().map_or(Ok(()), |next| self.check_next(block, next))
            }
        }
    }

    fn check_next(&self, block: Block, next: Block) -> Result<(), VerifyError> {
        let entity = Entity::Block(block);
        let exists = self.program.blocks.is_valid(next);
        ensure(exists, entity, Defect::Missing(Entity::Block(next)))?;
        let stays = self.program.goal(next) == next;
        ensure(stays, entity, Defect::LeadsToMerged(next))
    }

    fn check_target(&mut self, block: Block, target: JumpTarget) -> Result<(), VerifyError> {
        let entity = Entity::Block(block);
        match target {
            JumpTarget::Block(target) => {
                let data = self.program.blocks.get(target);
                ensure(data.is_some(), entity, Defect::Missing(Entity::Block(target)))?;
                let is_jumpdest = data.is_some_and(|data| data.is_jumpdest || data.is_clone);
                ensure(is_jumpdest, entity, Defect::NotJumpDest(target))?;
                let stays = self.program.goal(target) == target;
                ensure(stays, entity, Defect::LeadsToMerged(target))
            }
            JumpTarget::Dynamic(value) => self.check_use(block, value, entity),
            JumpTarget::Invalid => Ok(()),
        }
    }

    /// The instruction named by a terminator: the block's last, done as the terminator says.
    fn check_last_inst(
        &self,
        block: Block,
        inst: Inst,
        implementation: Implementation,
    ) -> Result<(), VerifyError> {
        let entity = Entity::Block(block);
        let span = self.program.blocks[block].insts;
        let is_last = !span.is_empty() && inst.as_u32() == span.end - 1;
        let opcode = self.program.insts[inst].opcode;
        let is_right = is_last && opcode.implementation() == implementation;
        ensure(is_right, entity, Defect::TerminatorInst(inst))
    }

    fn check_outputs(&mut self, block: Block) -> Result<(), VerifyError> {
        let entity = Entity::Block(block);
        let outputs = self.program.outputs(block);
        let mut last = None;
        for &Output { slot, value } in outputs {
            ensure(last.is_none_or(|last| last < slot), entity, Defect::OutputOrder(slot))?;
            last = Some(slot);
            self.check_use(block, value, entity)?;
            let unchanged = self.program.values[value].def == ValueDef::Input(slot);
            ensure(!unchanged, entity, Defect::OutputUnchanged(slot))?;
        }
        Ok(())
    }

    fn check_values(&self) -> Result<(), VerifyError> {
        for (value, data) in self.program.values.iter() {
            let entity = Entity::Value(value);
            match data.def {
                ValueDef::Input(slot) => ensure(slot < 0, entity, Defect::InputSlot(slot))?,
                ValueDef::Const(_) | ValueDef::Unused => {}
                ValueDef::Result(inst) => {
                    let result = self.program.insts.get(inst).and_then(|i| i.result.expand());
                    ensure(result == Some(value), entity, Defect::NotItsResult(inst))?;
                }
            }
            let least = match data.def {
                ValueDef::Input(_) => WORD_BITS,
                ValueDef::Const(word) => constant_bits(word),
                // Checked with its instruction.
                ValueDef::Result(_) | ValueDef::Unused => 0,
            };
            let bits = data.bits;
            ensure((least..=WORD_BITS).contains(&bits), entity, Defect::TooNarrow { bits, least })?;
            let (found, expected) = (data.uses, self.uses[value]);
            ensure(found == expected, entity, Defect::UseCount { found, expected })?;
        }
        Ok(())
    }
}

/// Whether a span begins at `start` and ends within a pool.
pub(super) fn follows(span: Span, start: u32, pool: usize) -> bool {
    span.start == start && span.start <= span.end && span.end as usize <= pool
}
