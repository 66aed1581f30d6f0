//! Who charges which block's static gas: what the heads of a chunk's blocks were planned to take,
//! followed along every edge.
//!
//! A block's gas must be charged once on every way to it: at its own head, or before. Before it, it
//! may be charged only where one block leads to it, in which nothing may spend what was charged
//! ahead: else what is owed at a charge that comes between couldn't be told from what is there.
//!
//! Needs the plans alone: where the edges are is seen from the blocks.

use super::edges::{Edges, ways_out};
use super::{Defect, Entity, VerifyError, ensure};
use crate::analysis::head_plans::{HeadPlan, HeadPlans};
use crate::ir::entities::{Block, Chunk};
use crate::ir::program::Program;

/// Verifies the plans of a chunk's heads.
///
/// # Errors
///
/// The first block that has no plan, or whose gas isn't charged once on each way to it.
pub fn verify_charges(
    program: &Program,
    chunk: Chunk,
    plans: &HeadPlans,
) -> Result<(), VerifyError> {
    let edges = Edges::find(program, chunk);
    for block in edges.translated(program) {
        let index = edges.position(block);
        let plan = plan_of(program, plans, block)?;
        let data = &program.blocks[block];
        let entity = Entity::Block(block);
        ensure(plan.total == data.gas + plan.gas_rest, entity, Defect::ChargeTotal)?;
        let charge = if plan.is_charged { 0 } else { plan.total };
        ensure(plan.charge == charge, entity, Defect::ChargeTotal)?;
        if plan.is_charged {
            let only_one = data.entry.is_none() && edges.into[index].len() == 1;
            ensure(only_one, entity, Defect::ChargedElsewhere)?;
        }
        let goes_on = ways_out(program, block).next().is_some();
        ensure(plan.gas_rest == 0 || goes_on, entity, Defect::ChargeTotal)?;
        let spends = program
            .block_insts(block)
            .any(|inst| program.insts[inst].opcode.implementation().charges());
        ensure(plan.gas_rest == 0 || !spends, entity, Defect::PrepaysWhileSpending)?;
        for successor in ways_out(program, block) {
            // What the translator gives back there, whoever computes it.
            let excess = plans.excess(program, index, successor);
            let arrives = plan.gas_rest.checked_sub(excess);
            let next = edges.is_translated(program, successor).then(|| edges.position(successor));
            let expected = match next.and_then(|next| plans.plan(next)) {
                Some(next) if next.is_charged => next.total,
                _ => 0,
            };
            ensure(arrives == Some(expected), entity, Defect::ChargeLost(successor))?;
        }
    }
    Ok(())
}

/// The plan of a block that is translated, without which its head would check and charge nothing:
/// whoever translates it asks here, whether the plans are verified or not.
///
/// # Errors
///
/// [`Defect::NoPlan`] if there is none.
pub fn plan_of(
    program: &Program,
    plans: &HeadPlans,
    block: Block,
) -> Result<HeadPlan, VerifyError> {
    let missing = VerifyError { entity: Entity::Block(block), defect: Defect::NoPlan };
    plans.plan_of(program, block).copied().ok_or(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::regions::Regions;
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
        let mut each: Vec<_> = plans.plans.into_iter().flatten().collect();
        change(&mut each);
        plans.plans = each.into_iter().map(Some).collect();
        verify_charges(&program, chunk(), &plans).expect_err("the plan is wrong").defect
    }

    #[test]
    fn what_is_charged_twice_or_never_is_found() {
        let (_, plans) = planned(&[]);
        let is_charged = |at| plans.plan(at).expect("each block has a plan").is_charged;
        assert!(!is_charged(0) && is_charged(1), "{plans:?}");
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

    #[test]
    fn a_block_without_a_plan_is_found() {
        for missing in 0..3 {
            let (program, mut plans) = planned(&[]);
            plans.plans[missing] = None;
            let block = Block::from_u32(missing as u32);
            let error = VerifyError { entity: Entity::Block(block), defect: Defect::NoPlan };
            assert_eq!(plan_of(&program, &plans, block), Err(error));
            // Or already that nobody takes what was charged for it.
            let found = verify_charges(&program, chunk(), &plans).expect_err("it checks nothing");
            assert!(found == error || matches!(found.defect, Defect::ChargeLost(_)), "{found}");
            plans.plans.truncate(missing);
            assert_eq!(plan_of(&program, &plans, block), Err(error));
        }
    }

    /// The first block is all that the budget lasts for, so nobody gets to the one behind a cold
    /// one.
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
        assert!(plans.plans.iter().flatten().all(|plan| !plan.is_charged), "{plans:?}");
        let spends = broken(&head, |plans| {
            (plans[1].is_charged, plans[1].charge) = (true, 0);
            plans[0].gas_rest = plans[1].total;
            plans[0].total += plans[1].total;
            plans[0].charge = plans[0].total;
        });
        assert_eq!(spends, Defect::PrepaysWhileSpending);
    }
}
