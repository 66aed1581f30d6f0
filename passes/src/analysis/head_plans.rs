//! What the heads of a chunk's blocks check and charge.
//!
//! The stack bounds of a whole region are checked at its leader. The checks may be stricter than a
//! path needs: then the interpreter finds that all is well.
//!
//! A block's static gas is charged at the head of the block that leads to it, if only that one
//! does and no instruction there charges gas by its operands (which must see what is really left).
//! Where a branch's ways need different amounts, the larger is charged, and the other way
//! gives the rest back.
//!
//! Cost: one look at each block's instructions.

use super::regions::{Kind, Place, Regions, position};
use crate::ir::entities::{Block, Chunk};
use crate::ir::program::{Program, StackEffect};

/// What a block's head does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadPlan {
    /// At a leader, the stack bounds to check.
    pub bounds: Option<StackEffect>,
    /// Static gas to charge: that of this block and of following ones that are charged with it.
    pub charge: u64,
    /// Whether the block's gas is charged at its predecessor's head.
    pub is_charged: bool,
    /// Static gas that is charged at this block's head or before it for what comes after.
    pub gas_rest: u64,
    /// Static gas of this block and of those charged with it.
    pub total: u64,
}

/// The plans of a chunk's blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadPlans {
    chunk: Chunk,
    /// By position in the chunk; none for blocks that aren't translated.
    pub(crate) plans: Vec<Option<HeadPlan>>,
}

impl HeadPlans {
    /// Plans the heads of a chunk with these regions.
    pub fn of(program: &Program, chunk: Chunk, regions: &Regions) -> Self {
        let planner = Planner { program, chunk, places: &regions.places };
        let bounds = planner.bounds(&regions.order);
        let mut plans = Self { chunk, plans: vec![None; regions.places.len()] };
        for &index in regions.order.iter().rev() {
            let plan = planner.plan(index, bounds[index as usize], &plans);
            plans.plans[index as usize] = Some(plan);
        }
        plans
    }

    /// The plan of the block at a position, if it has one: each block has that is translated.
    pub fn plan(&self, position: usize) -> Option<&HeadPlan> {
        self.plans.get(position)?.as_ref()
    }

    /// The plan of a block, if it is one of the chunk.
    pub fn plan_of(&self, program: &Program, block: Block) -> Option<&HeadPlan> {
        let is_inside = program.blocks[block].chunk == self.chunk;
        is_inside.then(|| self.plan(position(program, block) as usize)).flatten()
    }

    /// Gas charged ahead at the head of the block at a position that its way to `to` doesn't need.
    pub fn excess(&self, program: &Program, position: usize, to: Block) -> u64 {
        let gas_rest = self.plan(position).map_or(0, |plan| plan.gas_rest);
        gas_rest.saturating_sub(self.prepaid(program, to))
    }

    /// Gas that is charged for a block at the head of another.
    fn prepaid(&self, program: &Program, to: Block) -> u64 {
        match self.plan_of(program, to) {
            Some(plan) if plan.is_charged => plan.total,
            _ => 0,
        }
    }
}

struct Planner<'a> {
    program: &'a Program,
    chunk: Chunk,
    places: &'a [Place],
}

impl Planner<'_> {
    fn block_at(&self, index: u32) -> Block {
        Block::from_u32(self.program.chunks[self.chunk].blocks.start + index)
    }

    /// The stack bounds to check, by position: those of the regions, at their leaders.
    fn bounds(&self, order: &[u32]) -> Vec<Option<StackEffect>> {
        let mut bounds: Vec<Option<StackEffect>> = vec![None; self.places.len()];
        for &index in order {
            let (data, place) =
                (&self.program.blocks[self.block_at(index)], self.places[index as usize]);
            let bounds = &mut bounds[place.leader as usize];
            *bounds = Some(merge_bounds(bounds.unwrap_or_default(), data.stack, place.height));
        }
        bounds
    }

    /// Plans a block, all those being planned that its way out leads to but for headers of loops.
    fn plan(&self, index: u32, bounds: Option<StackEffect>, plans: &HeadPlans) -> HeadPlan {
        let (block, place) = (self.block_at(index), self.places[index as usize]);
        let gas_rest = self.charged_ahead(block, index, plans);
        let total = self.program.blocks[block].gas + gas_rest;
        let is_charged = matches!(place.kind, Kind::Single(before)
            if !charges_by_operands(self.program, self.block_at(before)));
        let charge = if is_charged { 0 } else { total };
        HeadPlan { bounds, charge, is_charged, gas_rest, total }
    }

    /// The most static gas that a way out of a block has to be charged for at the block's head.
    fn charged_ahead(&self, block: Block, index: u32, plans: &HeadPlans) -> u64 {
        let terminator = &self.program.blocks[block].terminator;
        let successors = [terminator.static_target(), terminator.next_block()];
        let totals = successors.into_iter().flatten().filter(|&successor| {
            let data = &self.program.blocks[successor];
            data.chunk == self.chunk
                && data.is_compiled()
                && self.places[position(self.program, successor) as usize].kind
                    == Kind::Single(index)
        });
        totals.map(|successor| plans.prepaid(self.program, successor)).max().unwrap_or(0)
    }
}

/// Whether an instruction of the block may charge gas beyond its static cost, or end the frame.
fn charges_by_operands(program: &Program, block: Block) -> bool {
    let mut insts = program.block_insts(block);
    insts.any(|inst| program.insts[inst].opcode.implementation().charges())
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
