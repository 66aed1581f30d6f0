//! What a block's head checks and charges, and what is known at its start.
//!
//! The passes find regions: blocks that are entered through a leader only, at known heights of the
//! stack (`cranevm_passes::analysis::regions`). The stack bounds of a whole region are checked at
//! its leader. The checks may be stricter than a path needs: then the interpreter finds that all
//! is well.
//!
//! A block's static gas is charged at the head of the block that leads to it, if only that one
//! does and no instruction there charges gas by its operands (which must see what is really left).
//! Where a branch's ways need different amounts, the larger is charged, and the other way
//! gives the rest back.
//!
//! A block with one predecessor starts with all that is known at that one's end. Where several
//! meet, what they agree on is known, unless one of them is still to be translated.

use super::{Translator, word::Word};
use cranelift_codegen::ir;
use cranevm_passes::{
    analysis::regions::{Kind, position},
    ir::{entities::Block, opcode::Opcode, program::StackEffect},
};

/// What a block's head does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadPlan {
    /// At a leader, the stack bounds to check.
    pub(super) bounds: Option<StackEffect>,
    /// Static gas to charge: that of this block and of following ones that are charged with it.
    pub(super) charge: u64,
    /// Whether the block's gas is charged at its predecessor's head.
    pub(super) is_charged: bool,
    /// Static gas that is charged at this block's head or before it for what comes after.
    pub(super) gas_rest: u64,
    /// Static gas of this block and of those charged with it.
    pub(super) total: u64,
}

/// What is known where an edge leads.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Edges seen so far.
    edges: u32,
    /// Gas left; where several edges meet it is a parameter instead.
    gas: Option<ir::Value>,
    /// Gas to give back first.
    excess: u64,
    known_memory: u64,
    pub(super) carried: Vec<(i16, Word)>,
    unwritten: Vec<(i16, Word)>,
}

impl Translator<'_, '_> {
    /// How a block of this chunk is entered.
    pub(super) fn kind(&self, block: Block) -> Kind {
        self.regions.places[self.index_of(block)].kind
    }

    /// A block's position in its chunk.
    pub(super) fn index_of(&self, block: Block) -> usize {
        position(self.program, block) as usize
    }

    /// The block at a position in the chunk.
    pub(super) fn block_at(&self, position: u32) -> Block {
        Block::from_u32(self.program.chunks[self.chunk].blocks.start + position)
    }

    /// Plans the heads of the chunk's blocks.
    pub(super) fn plan_heads(&self) -> Vec<HeadPlan> {
        let places = &self.regions.places;
        let mut plans = vec![HeadPlan::default(); places.len()];
        for &index in self.regions.order.iter().rev() {
            let (block, place) = (self.block_at(index), places[index as usize]);
            let data = &self.program.blocks[block];
            let gas_rest = self.charged_ahead(block, index, &plans);
            let plan = &mut plans[index as usize];
            plan.gas_rest = gas_rest;
            plan.total = data.gas + gas_rest;
            plan.charge = if plan.is_charged { 0 } else { plan.total };
            let bounds = &mut plans[place.leader as usize].bounds;
            *bounds = Some(merge_bounds(bounds.unwrap_or_default(), data.stack, place.height));
            let is_charged = matches!(place.kind, Kind::Single(before)
                if !self.charges_by_operands(self.block_at(before)));
            let plan = &mut plans[index as usize];
            if is_charged {
                (plan.is_charged, plan.charge) = (true, 0);
            }
        }
        plans
    }

    /// The most static gas that a way out of a block has to be charged for at the block's head.
    fn charged_ahead(&self, block: Block, index: u32, plans: &[HeadPlan]) -> u64 {
        let terminator = &self.program.blocks[block].terminator;
        let successors = [terminator.static_target(), terminator.next_block()];
        let totals = successors.into_iter().flatten().map(|successor| {
            if self.is_inside(successor) && self.kind(successor) == Kind::Single(index) {
                let plan = &plans[self.index_of(successor)];
                if plan.is_charged { plan.total } else { 0 }
            } else {
                0
            }
        });
        totals.max().unwrap_or(0)
    }

    /// Whether a block is translated in this chunk.
    pub(super) fn is_inside(&self, block: Block) -> bool {
        let data = &self.program.blocks[block];
        data.chunk == self.chunk && data.is_compiled()
    }

    /// Gas charged ahead at the current block's head that a way out of it doesn't need.
    pub(super) fn excess_gas(&self, to: Block) -> u64 {
        let rest = self.plans[self.current].gas_rest;
        if !self.is_inside(to) {
            return rest;
        }
        let plan = &self.plans[self.index_of(to)];
        if plan.is_charged { rest - plan.total } else { rest }
    }

    /// Whether an instruction of the block may charge gas beyond its static cost, or end the frame.
    fn charges_by_operands(&self, block: Block) -> bool {
        self.program.block_insts(block).any(|inst| !is_plain(self.program.insts[inst].opcode))
    }

    /// Notes what is known on an edge to a block of the region, where the stack is flushed.
    /// `excess` is the gas to give back there.
    pub(super) fn note_edge(&mut self, to: Block, excess: u64) {
        let index = self.index_of(to);
        let state = &self.state;
        let known = &mut self.known[index];
        known.edges += 1;
        if known.edges == 1 {
            (known.gas, known.excess) = (state.gas, excess);
            known.known_memory = state.known_memory;
            known.carried.clone_from(&state.carried);
            known.unwritten.clone_from(&state.unwritten);
            return;
        }
        known.known_memory = known.known_memory.min(state.known_memory);
        known.carried.retain_mut(|(slot, word)| match state.carried_word(*slot) {
            Some(other) if other.limbs == word.limbs => {
                word.bits = word.bits.max(other.bits);
                true
            }
            _ => false,
        });
    }

    /// Starts a block of a region with what is known there. Where edges meet, their words are
    /// written.
    pub(super) fn start_inside(&mut self, block: Block) {
        let index = self.index_of(block);
        let place = self.regions.places[index];
        let known = std::mem::take(&mut self.known[index]);
        let is_complete = known.edges == place.predecessors;
        let state = &mut self.state;
        state.height = place.height.into();
        // What an edge that is still to come knows may be less.
        state.known_memory = if is_complete { known.known_memory } else { self.initial_memory };
        state.carried = if is_complete { known.carried } else { Vec::new() };
        state.gas = known.gas;
        state.unwritten = match place.kind {
            Kind::Single(_) => known.unwritten,
            _ => Vec::new(),
        };
        self.return_gas(known.excess);
    }
}

/// The bounds of a region so far, together with those of a block at a height in it.
fn merge_bounds(bounds: StackEffect, block: StackEffect, height: i16) -> StackEffect {
    let height = i32::from(height);
    StackEffect {
        needed: bounds.needed.max(saturate(i32::from(block.needed) - height)),
        growth: bounds.growth.max(saturate(height + i32::from(block.growth))),
        delta: 0,
    }
}

fn saturate(words: i32) -> u16 {
    words.clamp(0, i32::from(u16::MAX)) as u16
}

/// Whether an opcode is done without a gas window: natively, or by a builtin that only computes.
/// Such an opcode can neither fail nor charge gas beyond its static cost.
pub(super) fn is_plain(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::ADD
            | Opcode::SUB
            | Opcode::MUL
            | Opcode::DIV
            | Opcode::MOD
            | Opcode::SDIV
            | Opcode::SMOD
            | Opcode::ADDMOD
            | Opcode::MULMOD
            | Opcode::AND
            | Opcode::OR
            | Opcode::XOR
            | Opcode::NOT
            | Opcode::ISZERO
            | Opcode::CLZ
            | Opcode::BYTE
            | Opcode::EQ
            | Opcode::LT
            | Opcode::GT
            | Opcode::SLT
            | Opcode::SGT
            | Opcode::SHL
            | Opcode::SHR
            | Opcode::SAR
            | Opcode::SIGNEXTEND
            | Opcode::CALLDATALOAD
            | Opcode::CALLDATASIZE
            | Opcode::RETURNDATASIZE
            | Opcode::MSIZE
            | Opcode::GAS
            | Opcode::ADDRESS
            | Opcode::CALLER
            | Opcode::CALLVALUE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranevm_passes::ir::effects::Effects;

    #[test]
    fn plain_opcodes_cannot_fail() {
        let plain: Vec<Opcode> =
            (0..=u8::MAX).map(Opcode::new).filter(|&op| is_plain(op)).collect();
        assert!(!plain.is_empty());
        for opcode in plain {
            assert!(!opcode.effects().intersects(Effects::FAILS), "{opcode}");
        }
    }

    /// What isn't plain settles debts of gas: an opcode that compiled code computes must be.
    #[test]
    fn computed_opcodes_are_plain() {
        for opcode in (0..=u8::MAX).map(Opcode::new) {
            if opcode.is_computed() && opcode != Opcode::STOP && opcode != Opcode::EXP {
                let is_assigned = opcode.info().is_some();
                assert_eq!(is_plain(opcode), is_assigned, "{opcode}");
            }
        }
    }
}
