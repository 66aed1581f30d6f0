//! What is checked and charged before a block, in either of two ways.

use super::{Run, Violation, ensure};
use cranevm_codegen::Program;
use cranevm_passes::{
    analysis::{
        head_plans::{HeadPlan, HeadPlans},
        regions::{Kind, Place, Regions, position},
    },
    ir::{entities::Block, program::StackEffect},
};
use revm::interpreter::interpreter::STACK_LIMIT;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// Each block checks its own bounds and charges its own gas.
    Plain,
    /// As compiled code does: bounds are checked by a region's leader, and gas is charged ahead.
    Planned,
}

/// The heads of a program.
pub(super) struct Planned {
    heads: Heads,
    /// By chunk.
    regions: Vec<Regions>,
    plans: Vec<HeadPlans>,
}

impl Planned {
    pub(super) fn new(program: &Program, heads: Heads) -> Self {
        let regions: Vec<_> =
            program.chunks.keys().map(|chunk| Regions::find(program, chunk)).collect();
        let chunks = program.chunks.keys().zip(&regions);
        let plans = chunks.map(|(chunk, regions)| HeadPlans::of(program, chunk, regions)).collect();
        Self { heads, regions, plans }
    }

    fn place(&self, program: &Program, block: Block) -> &Place {
        let chunk = program.blocks[block].chunk.as_u32() as usize;
        &self.regions[chunk].places[position(program, block) as usize]
    }

    /// The plan of a block's head.
    fn plan(&self, program: &Program, block: Block) -> HeadPlan {
        let data = &program.blocks[block];
        let plans = &self.plans[data.chunk.as_u32() as usize];
        match (self.heads, plans.plan_of(program, block)) {
            (Heads::Planned, Some(plan)) => *plan,
            _ => HeadPlan {
                bounds: Some(data.stack),
                charge: data.gas,
                total: data.gas,
                ..HeadPlan::default()
            },
        }
    }

    /// Gas charged at a block's head or before for what comes after it.
    pub(super) fn charged_ahead(&self, program: &Program, block: Block) -> i64 {
        self.plan(program, block).gas_rest as i64
    }

    /// What of it the way to a block doesn't need.
    pub(super) fn excess(&self, program: &Program, block: Block, to: Block) -> i64 {
        let plans = &self.plans[program.blocks[block].chunk.as_u32() as usize];
        match self.heads {
            Heads::Plain => 0,
            Heads::Planned => plans.excess(program, position(program, block) as usize, to) as i64,
        }
    }
}

impl Run<'_> {
    /// A block that is come to from outside leads its region.
    pub(super) fn heads_in(&self) -> Result<(), Violation> {
        let kind = self.heads.place(self.program, self.block).kind;
        ensure(kind == Kind::Leader, || format!("it is entered, and is {kind:?}"))
    }

    /// A block that doesn't lead its region is come to from the region's others alone.
    pub(super) fn heads_from(&self, to: Block) -> Result<(), Violation> {
        let [from, place] = [self.block, to].map(|block| self.heads.place(self.program, block));
        let is_inside = self.program.blocks[self.block].chunk == self.program.blocks[to].chunk
            && from.is_with(place);
        let is_right = match place.kind {
            Kind::Leader => true,
            Kind::Single(before) => is_inside && before == position(self.program, self.block),
            Kind::Merge => is_inside,
            Kind::Absent => false,
        };
        ensure(is_right, || format!("it leads to {to}, which is {:?}", place.kind))
    }

    /// Checks and charges; whether the block goes on.
    pub(super) fn pass_head(&mut self) -> Result<bool, Violation> {
        let plan = self.heads.plan(self.program, self.block);
        let height = self.frame.stack.len();
        let too_little = plan.charge > 0 && self.gas < plan.charge as i64;
        if plan.bounds.is_some_and(|bounds| !is_within(bounds, height)) || too_little {
            return Ok(false);
        }
        let bounds = self.program.blocks[self.block].stack;
        ensure(is_within(bounds, height), || {
            format!("its leader lets a stack of {height} words pass, it takes {bounds:?}")
        })?;
        self.gas -= plan.charge as i64;
        Ok(true)
    }
}

/// Whether a stack is neither too low nor too high.
fn is_within(bounds: StackEffect, height: usize) -> bool {
    let (needed, growth) = (usize::from(bounds.needed), usize::from(bounds.growth));
    height >= needed && height + growth <= STACK_LIMIT
}
