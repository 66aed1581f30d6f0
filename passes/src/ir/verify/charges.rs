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

/// The compiled blocks, of all chunks, that go to each block of a chunk.
fn ways_into(program: &Program, chunk: Chunk) -> Vec<Vec<Block>> {
    let span = program.chunks[chunk].blocks;
    let mut ways = vec![Vec::new(); span.len()];
    for block in program.blocks.keys().filter(|&block| program.blocks[block].is_compiled()) {
        for successor in ways_out(program, block) {
            let index = successor.as_u32().wrapping_sub(span.start) as usize;
            if let Some(ways) = ways.get_mut(index) {
                ways.push(block);
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
    use crate::analysis::regions::Regions;
    use crate::ir::opcode::Opcode;
    use crate::{PassOptions, analyze};

    /// A block that branches to two that only it leads to, one of which stores.
    fn planned() -> (Program, HeadPlans) {
        // CALLER PUSH1 9 JUMPI CALLVALUE POP STOP; at 9: JUMPDEST CALLER CALLER SSTORE STOP
        let code = alloy_primitives::hex!("33600957345000fefe5b33335500");
        let options = PassOptions { compile_all: true, ..PassOptions::default() };
        let mut code = code.to_vec();
        let target = code.iter().position(|&byte| byte == 0x5b).expect("a JUMPDEST");
        code[2] = target as u8;
        let program = analyze(&code, &options).expect("short code");
        let chunk = Chunk::from_u32(0);
        let plans = HeadPlans::of(&program, chunk, &Regions::find(&program, chunk));
        (program, plans)
    }

    fn broken(change: impl FnOnce(&mut HeadPlans)) -> Defect {
        let (program, mut plans) = planned();
        let chunk = Chunk::from_u32(0);
        assert_eq!(verify_charges(&program, chunk, &plans), Ok(()));
        change(&mut plans);
        verify_charges(&program, chunk, &plans).expect_err("the plan is wrong").defect
    }

    #[test]
    fn what_is_charged_twice_or_never_is_found() {
        let (_, plans) = planned();
        let charged = plans.plans.iter().position(|plan| plan.is_charged);
        let charged = charged.expect("a block that is charged with the one before");
        assert_eq!(broken(|p| p.plans[0].charge += 1), Defect::ChargeTotal);
        assert_eq!(broken(|p| p.plans[0].total += 1), Defect::ChargeTotal);
        let more = |p: &mut HeadPlans, index: usize| {
            p.plans[index].gas_rest += 1;
            p.plans[index].total += 1;
        };
        let lost = broken(|p| more(p, charged));
        assert_eq!(lost, Defect::ChargeLost(Block::from_u32(charged as u32)));
        let never = broken(|p| p.plans[charged].charge = p.plans[charged].total);
        assert_eq!(never, Defect::ChargeTotal);
        let entered = broken(|p| (p.plans[0].is_charged, p.plans[0].charge) = (true, 0));
        assert_eq!(entered, Defect::ChargedElsewhere);
    }

    #[test]
    fn a_block_that_may_spend_charges_nothing_ahead() {
        let (program, _) = planned();
        let stores = program.insts.keys().find(|&i| program.insts[i].opcode == Opcode::SSTORE);
        let stores = stores.expect("an SSTORE").as_u32();
        let block = program
            .blocks
            .values()
            .position(|data| (data.insts.start..data.insts.end).contains(&stores));
        let spends = broken(|p| {
            let plan = &mut p.plans[block.expect("its block")];
            plan.gas_rest += 1;
            plan.total += 1;
            plan.charge += u64::from(!plan.is_charged);
        });
        assert_eq!(spends, Defect::PrepaysWhileSpending);
    }
}
