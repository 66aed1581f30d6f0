//! Who charges which block's static gas: what the heads of a chunk's blocks were planned to take,
//! followed along every edge.
//!
//! A block's gas must be charged once on every way to it: at its own head, or before. Before it, it
//! may be charged only where one block leads to it, in which nothing may spend what was charged
//! ahead: else what is owed at a charge that comes between couldn't be told from what is there.
//!
//! Needs the plans alone: where the edges are is seen from the blocks.

use super::{Defect, Entity, VerifyError, ensure};
use crate::analysis::head_plans::HeadPlans;
use crate::ir::entities::{Block, Chunk};
use crate::ir::program::Program;

/// Verifies the plans of a chunk's heads.
///
/// # Errors
///
/// The first block whose gas isn't charged once on each way to it.
pub fn verify_charges(
    program: &Program,
    chunk: Chunk,
    plans: &HeadPlans,
) -> Result<(), VerifyError> {
    let span = program.chunks[chunk].blocks;
    let ways_in = ways_into(program, chunk);
    for block in program.chunk_blocks(chunk) {
        let index = (block.as_u32() - span.start) as usize;
        let (Some(plan), data) = (plans.plan(index), &program.blocks[block]) else { continue };
        if !data.is_compiled() || (data.entry.is_none() && ways_in[index].is_empty()) {
            // Nobody gets there, so it isn't translated.
            continue;
        }
        let entity = Entity::Block(block);
        ensure(plan.total == data.gas + plan.gas_rest, entity, Defect::ChargeTotal)?;
        let charge = if plan.is_charged { 0 } else { plan.total };
        ensure(plan.charge == charge, entity, Defect::ChargeTotal)?;
        if plan.is_charged {
            let only_one = data.entry.is_none() && ways_in[index].len() == 1;
            ensure(only_one, entity, Defect::ChargedElsewhere)?;
        }
        let goes_on = ways_out(program, block).next().is_some();
        ensure(plan.gas_rest == 0 || goes_on, entity, Defect::ChargeTotal)?;
        let spends = program
            .block_insts(block)
            .any(|inst| program.insts[inst].opcode.implementation().charges());
        ensure(plan.gas_rest == 0 || !spends, entity, Defect::PrepaysWhileSpending)?;
        for successor in ways_out(program, block) {
            let excess = plans.excess(program, index, successor);
            let arrives = plan.gas_rest.checked_sub(excess);
            let expected = match plans.plan_of(program, successor) {
                Some(next) if next.is_charged => next.total,
                _ => 0,
            };
            ensure(arrives == Some(expected), entity, Defect::ChargeLost(successor))?;
        }
    }
    Ok(())
}

/// By block of a chunk: the blocks that go to it, of those that are reached from an entry point.
/// (What another chunk goes to has one.)
fn ways_into(program: &Program, chunk: Chunk) -> Vec<Vec<Block>> {
    let span = program.chunks[chunk].blocks;
    let mut ways = vec![Vec::new(); span.len()];
    let has_entry = |&block: &Block| program.blocks[block].entry.is_some();
    let mut reached: Vec<Block> = program.chunk_blocks(chunk).filter(has_entry).collect();
    let mut is_reached = vec![false; span.len()];
    while let Some(block) = reached.pop() {
        let index = (block.as_u32() - span.start) as usize;
        let is_new = !std::mem::replace(&mut is_reached[index], true);
        if !is_new || !program.blocks[block].is_compiled() {
            continue;
        }
        for successor in ways_out(program, block) {
            let index = successor.as_u32().wrapping_sub(span.start) as usize;
            if let Some(ways) = ways.get_mut(index) {
                ways.push(block);
                reached.push(successor);
            }
        }
    }
    ways
}

fn ways_out(program: &Program, block: Block) -> impl Iterator<Item = Block> + use<> {
    let terminator = &program.blocks[block].terminator;
    [terminator.static_target(), terminator.next_block()].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{head_plans::HeadPlan, regions::Regions};
    use crate::{PassOptions, WorkLimit, analyze};
    use alloy_primitives::hex;

    fn chunk() -> Chunk {
        Chunk::from_u32(0)
    }

    /// Two blocks after a branch in the first, which `head` begins: one pops, the other stores.
    fn planned(head: &[u8]) -> (Program, HeadPlans) {
        let target = head.len() as u8 + 9;
        let branch = [0x33, 0x60, target, 0x57];
        let code = [head, &branch, &hex!("345000fefe5b33335500")].concat();
        let program = analyze(&code, &PassOptions::default()).expect("short code");
        assert_eq!(program.blocks.len(), 3, "{program}");
        let plans = HeadPlans::of(&program, chunk(), &Regions::find(&program, chunk()));
        (program, plans)
    }

    fn broken(head: &[u8], change: impl FnOnce(&mut [HeadPlan])) -> Defect {
        let (program, mut plans) = planned(head);
        assert_eq!(verify_charges(&program, chunk(), &plans), Ok(()));
        change(&mut plans.plans);
        verify_charges(&program, chunk(), &plans).expect_err("the plan is wrong").defect
    }

    #[test]
    fn what_is_charged_twice_or_never_is_found() {
        let (_, plans) = planned(&[]);
        assert!(!plans.plans[0].is_charged && plans.plans[1].is_charged, "{plans:?}");
        let find = |change: fn(&mut [HeadPlan])| broken(&[], change);
        assert_eq!(find(|plans| plans[0].charge += 1), Defect::ChargeTotal);
        assert_eq!(find(|plans| plans[1].charge = plans[1].total), Defect::ChargeTotal);
        let entered = find(|plans| (plans[0].is_charged, plans[0].charge) = (true, 0));
        assert_eq!(entered, Defect::ChargedElsewhere);
        let lost = find(|plans| {
            let own = plans[0].total - plans[0].gas_rest;
            plans[0] = HeadPlan { gas_rest: 0, total: own, charge: own, ..plans[0] };
        });
        assert!(matches!(lost, Defect::ChargeLost(_)), "{lost}");
        // Nobody gives back what the end of the frame doesn't need.
        let kept = find(|plans| {
            (plans[1].gas_rest, plans[1].total) = (1, plans[1].total + 1);
        });
        assert_eq!(kept, Defect::ChargeTotal);
    }

    /// The first block is all that the budget lasts for, so nobody gets to the one behind a cold one.
    #[test]
    fn blocks_that_nobody_gets_to_need_no_plan() {
        let code = hex!("6004565b5b600c575b345000 5b600c57 5b345000");
        for per_byte in 0..12 {
            let work_limit = WorkLimit { contract: 40, per_byte };
            let options = PassOptions { work_limit, verify: true, ..PassOptions::default() };
            let program = analyze(&code, &options).expect("short code");
            for chunk in program.chunks.keys() {
                let plans = HeadPlans::of(&program, chunk, &Regions::find(&program, chunk));
                assert_eq!(verify_charges(&program, chunk, &plans), Ok(()), "{program}");
            }
        }
    }

    #[test]
    fn a_block_that_may_spend_charges_nothing_ahead() {
        // CALLER SLOAD POP
        let head = hex!("335450");
        let (_, plans) = planned(&head);
        assert!(plans.plans.iter().all(|plan| !plan.is_charged), "{plans:?}");
        let spends = broken(&head, |plans| {
            (plans[1].is_charged, plans[1].charge) = (true, 0);
            plans[0].gas_rest = plans[1].total;
            plans[0].total += plans[1].total;
            plans[0].charge = plans[0].total;
        });
        assert_eq!(spends, Defect::PrepaysWhileSpending);
    }
}
