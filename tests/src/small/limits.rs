//! Where a small program is tried: heights of the stack that are just enough, or just too much, and
//! gas limits at which an instruction can just be paid, or just not.

use super::frame::{Frame, Runner, Step};
use crate::rng::mix;
use revm::interpreter::interpreter::STACK_LIMIT;
use std::collections::BTreeSet;

/// Words on the stack of the run that tells how much higher it gets.
const PROBE: usize = 24;

/// Up to so much gas of an instruction, all limits are tried.
const SMALL_CHARGE: u64 = 12;

/// Limits beyond the end: what is charged ahead might be taken for what is left.
const MARGIN: u64 = 12;

/// What parts of a charge cost: below and at each, something else fails.
const PARTS: [u64; 5] = [100, 2_000, 2_100, 2_300, 20_000];

/// Heights at which to run a program: low ones, and where the stack just gets full, or too full.
pub fn heights(runner: &mut Runner, frame: &Frame, low: usize) -> Vec<usize> {
    let (steps, _) = runner.trace(frame, PROBE);
    let highest = steps.iter().map(|step| step.height).max().unwrap_or(PROBE);
    let growth = highest.saturating_sub(PROBE).min(STACK_LIMIT - PROBE);
    let mut heights: BTreeSet<usize> = (0..=low).collect();
    let full = STACK_LIMIT - growth;
    heights.extend([full.saturating_sub(1), full, (full + 1).min(STACK_LIMIT)]);
    heights.into_iter().collect()
}

/// Gas limits at which to run a program from a height, at most about `most`: all at which it goes
/// another way than at one less, and their neighbours.
pub fn gas_limits(runner: &mut Runner, frame: &Frame, height: usize, most: usize) -> Vec<u64> {
    let (steps, total) = runner.trace(frame, height);
    let ends = steps.iter().skip(1).map(|step| step.spent).chain([total]);
    let mut limits = BTreeSet::new();
    for (&Step { spent, .. }, end) in steps.iter().zip(ends) {
        if end.saturating_sub(spent) <= SMALL_CHARGE {
            limits.extend(spent..=end);
            continue;
        }
        let parts = PARTS.into_iter().map(|part| spent + part).filter(|&at| at < end);
        for at in parts.chain([spent, end]) {
            limits.extend(at.saturating_sub(1)..=at + 1);
        }
    }
    limits.extend(total..=total + MARGIN);
    thin_out(limits, most)
}

/// Leaves out some, if they are too many: not the last ones, and not every second.
fn thin_out(limits: BTreeSet<u64>, most: usize) -> Vec<u64> {
    let count = limits.len();
    let keeps = |index: usize| {
        count <= most || index + most / 4 >= count || mix(index as u64) as usize % count < most
    };
    let kept = limits.into_iter().enumerate().filter(|(index, _)| keeps(*index));
    kept.map(|(_, limit)| limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};

    #[test]
    fn heights_are_just_enough_and_just_too_much() {
        let mut runner = Runner::new(SpecId::OSAKA);
        let frame = Frame::new(&[PUSH0, PUSH0, POP, POP, STOP], &[], SpecId::OSAKA);
        assert_eq!(heights(&mut runner, &frame, 1), [0, 1, 1021, 1022, 1023]);
    }

    #[test]
    fn limits_surround_what_is_charged() {
        let mut runner = Runner::new(SpecId::OSAKA);
        let frame = Frame::new(&[PUSH0, SLOAD, POP, STOP], &[], SpecId::OSAKA);
        let limits = gas_limits(&mut runner, &frame, 0, 1000);
        for at in [0, 1, 2, 3, 101, 102, 103, 2101, 2102, 2103, 2104, 2105] {
            assert!(limits.contains(&at), "{at} of {limits:?}");
        }
        assert!(!limits.contains(&1000));
        let few = gas_limits(&mut runner, &frame, 0, 8);
        assert!(few.len() < limits.len() && few.last() == limits.last());
    }
}
