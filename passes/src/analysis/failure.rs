//! Blocks that lead only to failure: `REVERT`, opcodes that aren't compiled, and blocks all of
//! whose successors do. A loop, a computed jump or a call isn't said to.
//!
//! It is a guess that they are unlikely to run.
//!
//! Cost: two looks at each block's end.

use super::control_flow::{BlockShape, ControlFlow, Ending};
use super::references::References;
use crate::decode::Decoded;
use crate::ir::entities::Block;
use crate::ir::opcode::Opcode;
use cranelift_entity::EntitySet;

/// The blocks that lead only to failure. Going backwards finds those that fail further on; a
/// second round those that jump back to failure.
pub(crate) fn failing_blocks(
    decoded: &Decoded,
    flow: &ControlFlow,
    references: &References<'_>,
) -> EntitySet<Block> {
    let mut failing = EntitySet::with_capacity(flow.blocks.len());
    for _ in 0..2 {
        for (block, shape) in flow.blocks.iter().rev() {
            let next_fails = || shape.next.expand().is_some_and(|next| failing.contains(next));
            let target_fails = || {
                let target = references.static_target(flow, shape);
                target.is_some_and(|target| failing.contains(target))
            };
            let fails = match shape.ending {
                Ending::FallThrough => next_fails(),
                Ending::Jump => target_fails(),
                Ending::Branch => next_fails() && target_fails(),
                Ending::Exit => reverts(decoded, flow, shape),
                Ending::HandOver => true,
                Ending::Stop | Ending::Suspend | Ending::Foreign => false,
            };
            if fails {
                failing.insert(block);
            }
        }
    }
    failing
}

fn reverts(decoded: &Decoded, flow: &ControlFlow, shape: &BlockShape) -> bool {
    let last = flow.instructions(decoded, shape).next_back();
    last.is_some_and(|last| last.opcode == Opcode::REVERT)
}
