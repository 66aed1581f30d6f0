//! Where the stack is checked once for many blocks: regions, and what their leaders check.
//!
//! A block that doesn't check the stack is entered after one that does, its region's leader, on
//! every way, and at one height relative to the leader's, at which the leader's bounds cover what
//! the block needs and how far it grows. This is followed along every edge, from every entry point:
//! a block that is entered from outside, or from another region, must be a leader. The translator
//! also relies on the order of the blocks, in which each region is in one piece, and takes what it
//! knows at a block's end for known where only that block leads.
//!
//! Needs the regions and the plans alone: where the edges are is seen from the blocks.
//!
//! Cost: one look at each block and edge.

use super::charges::plan_of;
use super::edges::Edges;
use super::{Defect, Entity, VerifyError, ensure};
use crate::analysis::head_plans::HeadPlans;
use crate::analysis::regions::{Kind, Place, Regions};
use crate::ir::entities::{Block, Chunk};
use crate::ir::program::{Program, Terminator};

/// Verifies the regions of a chunk, and the stack bounds that their leaders are planned to check.
///
/// # Errors
///
/// The first block that isn't in its place, or whose stack isn't checked on each way to it.
pub fn verify_bounds(
    program: &Program,
    chunk: Chunk,
    regions: &Regions,
    plans: &HeadPlans,
) -> Result<(), VerifyError> {
    let edges = Edges::find(program, chunk);
    let turns = turns(program, chunk, regions, &edges)?;
    let chunk = Places { program, regions, turns, edges };
    for block in chunk.edges.translated(program) {
        let place = chunk.place(block)?;
        match place.kind {
            Kind::Leader => chunk.check_leader(block, place)?,
            _ => chunk.check_inside(block, place)?,
        }
        let leader = chunk.edges.block_at(place.leader);
        let bounds = plan_of(program, plans, leader)?.bounds.unwrap_or_default();
        let (stack, height) = (program.blocks[block].stack, i32::from(place.height));
        let covers = i32::from(stack.needed) - height <= i32::from(bounds.needed)
            && height + i32::from(stack.growth) <= i32::from(bounds.growth);
        ensure(covers, Entity::Block(block), Defect::NotCovered(leader))?;
    }
    Ok(())
}

/// By position in the chunk: when the block is translated. Each that must be has one turn, and
/// comes after its leader without another leader between.
fn turns(
    program: &Program,
    chunk: Chunk,
    regions: &Regions,
    edges: &Edges,
) -> Result<Vec<Option<usize>>, VerifyError> {
    let mut turns = vec![None; program.chunks[chunk].blocks.len()];
    let mut leader = None;
    for (turn, &index) in regions.order.iter().enumerate() {
        let (place, known) = (regions.places.get(index as usize), turns.get_mut(index as usize));
        let (Some(place), Some(known)) = (place, known) else {
            return Err(VerifyError { entity: Entity::Chunk(chunk), defect: Defect::RegionOrder });
        };
        if place.kind == Kind::Leader {
            leader = Some(index);
        }
        let is_next = known.replace(turn).is_none() && leader == Some(place.leader);
        let entity = Entity::Block(edges.block_at(index));
        ensure(is_next, entity, Defect::RegionOrder)?;
    }
    for block in edges.translated(program) {
        let has_turn = turns[edges.position(block)].is_some();
        ensure(has_turn, Entity::Block(block), Defect::RegionOrder)?;
    }
    Ok(turns)
}

struct Places<'a> {
    program: &'a Program,
    regions: &'a Regions,
    turns: Vec<Option<usize>>,
    edges: Edges,
}

impl Places<'_> {
    fn place(&self, block: Block) -> Result<&Place, VerifyError> {
        let place = self.regions.places.get(self.edges.position(block));
        let error = VerifyError { entity: Entity::Block(block), defect: Defect::OtherRegion };
        place.filter(|place| place.kind != Kind::Absent).ok_or(error)
    }

    fn check_leader(&self, block: Block, place: &Place) -> Result<(), VerifyError> {
        let is_own = place.leader as usize == self.edges.position(block) && place.height == 0;
        ensure(is_own, Entity::Block(block), Defect::OtherRegion)
    }

    /// A block that isn't a leader: all ways to it are from its region, at its height.
    fn check_inside(&self, block: Block, place: &Place) -> Result<(), VerifyError> {
        let (entity, index) = (Entity::Block(block), self.edges.position(block));
        let ways = &self.edges.into[index];
        let has_ways = self.program.blocks[block].entry.is_none()
            && !ways.is_empty()
            && ways.len() == place.predecessors as usize;
        ensure(has_ways, entity, Defect::OtherRegion)?;
        for &before in ways {
            let (from, data) = (self.place(before)?, &self.program.blocks[before]);
            // Where a frame suspends, the arguments are still to be popped: who goes on is entered.
            let is_plain = !matches!(data.terminator, Terminator::Suspend { .. });
            let height = i32::from(from.height) + i32::from(data.stack.delta);
            let agrees = from.leader == place.leader && height == i32::from(place.height);
            ensure(is_plain && agrees, entity, Defect::OtherRegion)?;
        }
        if let Kind::Single(before) = place.kind {
            let is_first = self.turns.get(before as usize) < self.turns.get(index);
            let from = ways.iter().map(|&before| self.edges.position(before));
            let is_only = from.eq([before as usize]);
            ensure(is_first && is_only, entity, Defect::OtherRegion)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::program::StackEffect;
    use crate::{PassOptions, analyze};
    use alloy_primitives::hex;

    /// b0 pushes two words and branches to b2, which pushes three, stores two and pops two;
    /// b1 pops three.
    const CODE: &[u8] = &hex!("333334600b5750505000fe5b33333355505000");

    fn chunk() -> Chunk {
        Chunk::from_u32(0)
    }

    fn block(index: u32) -> Block {
        Block::from_u32(index)
    }

    fn broken(change: impl FnOnce(&mut Program, &mut Regions, &mut HeadPlans)) -> VerifyError {
        let mut program = analyze(CODE, &PassOptions::default()).expect("short code");
        let mut regions = Regions::find(&program, chunk());
        let mut plans = HeadPlans::of(&program, chunk(), &regions);
        assert_eq!(regions.order.len(), 3, "{program}");
        assert!(regions.places.iter().all(|place| place.leader == 0), "{regions:?}");
        assert_eq!(verify_bounds(&program, chunk(), &regions, &plans), Ok(()));
        change(&mut program, &mut regions, &mut plans);
        verify_bounds(&program, chunk(), &regions, &plans).expect_err("it is wrong")
    }

    fn at_block(index: u32, defect: Defect) -> VerifyError {
        VerifyError { entity: Entity::Block(block(index)), defect }
    }

    #[test]
    fn bounds_that_leave_out_a_block_are_found() {
        let bounded = |change: fn(&mut StackEffect)| {
            broken(|_, _, plans| {
                let leader = plans.plans[0].as_mut().expect("a plan");
                change(leader.bounds.as_mut().expect("a leader has bounds"));
            })
        };
        // As if each block were at the leader's height.
        let both = bounded(|bounds| (bounds.needed, bounds.growth) = (4, 4));
        assert_eq!(both, at_block(2, Defect::NotCovered(block(0))));
        assert_eq!(bounded(|bounds| bounds.growth -= 1), both);
        assert_eq!(bounded(|bounds| bounds.needed -= 1), at_block(1, Defect::NotCovered(block(0))));
        let unchecked = broken(|_, _, plans| {
            plans.plans[0].as_mut().expect("a plan").bounds = None;
        });
        assert_eq!(unchecked, at_block(0, Defect::NotCovered(block(0))));
        let missing = broken(|_, _, plans| plans.plans[0] = None);
        assert_eq!(missing, at_block(0, Defect::NoPlan));
    }

    #[test]
    fn other_ways_and_heights_are_found() {
        let placed =
            |change: fn(&mut Place)| broken(|_, regions, _| change(&mut regions.places[1]));
        let other = at_block(1, Defect::OtherRegion);
        assert_eq!(placed(|place| place.height = 0), other);
        assert_eq!(placed(|place| place.kind = Kind::Absent), other);
        assert_eq!(placed(|place| place.kind = Kind::Single(2)), other);
        assert_eq!(placed(|place| place.predecessors = 2), other);
        let entered = broken(|program, _, _| {
            program.blocks[block(1)].entry = program.blocks[block(0)].entry;
        });
        assert_eq!(entered, other);
        // There is a second way, at another height, from the other block.
        let merged = broken(|program, regions, _| {
            program.blocks[block(2)].terminator = Terminator::FallThrough(block(1));
            (regions.places[1].kind, regions.places[1].predecessors) = (Kind::Merge, 2);
        });
        assert_eq!(merged, other);
        // A leader of its own has nothing checked.
        let alone =
            placed(|place| *place = Place { kind: Kind::Leader, leader: 1, height: 0, ..*place });
        assert_eq!(alone.defect, Defect::RegionOrder, "the other one comes between");
        let alone = broken(|_, regions, _| {
            let place = &mut regions.places[1];
            *place = Place { kind: Kind::Leader, leader: 1, height: 0, ..*place };
            regions.order = vec![0, 2, 1];
        });
        assert_eq!(alone, at_block(1, Defect::NotCovered(block(1))));
    }

    #[test]
    fn other_orders_are_found() {
        let ordered = |order: &[u32]| broken(|_, regions, _| regions.order = order.to_vec());
        assert_eq!(ordered(&[0, 1]), at_block(2, Defect::RegionOrder));
        assert_eq!(ordered(&[0, 1, 2, 1]), at_block(1, Defect::RegionOrder));
        assert_eq!(ordered(&[1, 0, 2]), at_block(1, Defect::RegionOrder));
        let outside = ordered(&[0, 1, 2, 3]);
        let defect = Defect::RegionOrder;
        assert_eq!(outside, VerifyError { entity: Entity::Chunk(chunk()), defect });
    }
}
