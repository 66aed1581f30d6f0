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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::control_flow::find_blocks;
    use crate::analysis::references::find_references;
    use crate::decode::decode;
    use crate::ir::opcode::OpcodeSet;
    use revm_primitives::hardfork::SpecId;

    /// The pcs of the blocks of a code that only fail.
    fn failing(code: &[u8]) -> Vec<u32> {
        let decoded = decode(code, SpecId::AMSTERDAM, OpcodeSet::ZERO);
        let flow = find_blocks(&decoded, code.len() as u32, 500);
        let references = find_references(code, &decoded, &flow);
        let found = failing_blocks(&decoded, &flow, &references);
        let blocks = flow.blocks.iter().filter(|(block, _)| found.contains(*block));
        blocks.map(|(_, shape)| shape.pc).collect()
    }

    #[test]
    fn what_leads_only_to_failure_fails() {
        // A branch to what reverts, or else to what returns, stops, selfdestructs or calls.
        let branch = |end| [0x34, 0x60, 7, 0x57, 0x5f, 0x5f, end, 0x5b, 0xfd];
        for end in [0xf3, 0x00, 0xff, 0xf1] {
            assert_eq!(failing(&branch(end)), [7], "{end:#x}");
        }
        // Both ways revert or aren't compiled, and so the branch fails.
        for end in [0xfd, 0xfe, 0x0c] {
            assert_eq!(failing(&branch(end)), [0, 4, 7], "{end:#x}");
        }
        // What goes on to it, jumps ahead to it, or back.
        assert_eq!(failing(&[0x5b, 0x5b, 0xfd]), [0, 1]);
        assert_eq!(failing(&[0x60, 3, 0x56, 0x5b, 0xfd]), [0, 3]);
        assert_eq!(failing(&[0x60, 5, 0x56, 0x5b, 0xfd, 0x5b, 0x60, 3, 0x56]), [0, 3, 5]);
        // A loop and a computed jump may lead elsewhere.
        assert_eq!(failing(&[0x5b, 0x5f, 0x56]), []);
        assert_eq!(failing(&[0x5f, 0x35, 0x56, 0x5b, 0xfd]), [3]);
    }
}
