//! Which entries are wrong in which way: each number one more and one less, each fork one earlier
//! and one later, and each opcode done in every other way.

use cranevm_passes::ir::{
    implementation::Implementation,
    opcode::{
        Opcode, OpcodeInfo,
        overrides::{Change, Mutant},
    },
};
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};

const IMPLEMENTATIONS: [Implementation; 12] = [
    Implementation::Stack,
    Implementation::Native,
    Implementation::Words,
    Implementation::Memory,
    Implementation::Charged,
    Implementation::Delegated,
    Implementation::Jump,
    Implementation::Branch,
    Implementation::Stop,
    Implementation::Exit,
    Implementation::Suspend,
    Implementation::HandOver,
];

/// The mutants of all opcodes; of PUSH, DUP and SWAP those of a few, unless `all` are wanted.
pub fn mutants(all: bool) -> Vec<Mutant> {
    let is_taken = |opcode: &Opcode| {
        let byte = opcode.get();
        let kept = [PUSH1, PUSH2, PUSH32, DUP1, DUP2, DUP16, SWAP1, SWAP2, SWAP16];
        all || !(PUSH1..=SWAP16).contains(&byte) || kept.contains(&byte)
    };
    let opcodes = (0..=u8::MAX).map(Opcode::new).filter(is_taken);
    opcodes
        .flat_map(|opcode| opcode.info().into_iter().flat_map(move |info| of(opcode, info)))
        .collect()
}

/// The mutants of an opcode.
fn of(opcode: Opcode, info: &OpcodeInfo) -> Vec<Mutant> {
    let near = |number: u8| [number.checked_sub(1), Some(number + 1)].into_iter().flatten();
    let forks = near(info.since as u8).filter_map(SpecId::try_from_u8).map(Change::Since);
    let others = IMPLEMENTATIONS.into_iter().filter(|other| *other != info.implementation);
    let changes = near(info.inputs)
        .map(Change::Inputs)
        .chain(near(info.outputs).map(Change::Outputs))
        .chain(near(info.immediate).map(Change::Immediate))
        .chain(forks)
        .chain(prices(info))
        .chain(others.map(Change::Implementation));
    changes.map(|change| Mutant { opcode, change }).collect()
}

/// Each price of an opcode one more and one less, in the fork that brought it and in the newest.
fn prices(info: &OpcodeInfo) -> Vec<Change> {
    let specs = (info.since as u8..=SpecId::NEXT as u8).filter_map(SpecId::try_from_u8);
    let mut last = None;
    let mut found = Vec::new();
    for spec in specs {
        let gas = info.static_gas(spec);
        if last.replace(gas) != Some(gas) || spec == SpecId::NEXT {
            found.push(Change::Gas(spec, gas + 1));
            found.extend(gas.checked_sub(1).map(|less| Change::Gas(spec, less)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opcode_and_price_is_in_the_list() {
        let all = mutants(true);
        for opcode in (0..=u8::MAX).map(Opcode::new).filter(|opcode| opcode.info().is_some()) {
            let count = all.iter().filter(|mutant| mutant.opcode == opcode).count();
            assert!(count > 14, "{opcode}: {count}");
        }
        let prices = |byte: u8| {
            let of = |mutant: &&Mutant| mutant.opcode == Opcode::new(byte);
            let is_price = |mutant: &&Mutant| matches!(mutant.change, Change::Gas(..));
            all.iter().filter(of).filter(is_price).count()
        };
        // 50, 200, 800, 100, and 100 in the newest fork.
        assert_eq!(prices(SLOAD), 10);
        assert!(mutants(false).len() * 4 < all.len() * 3);
    }
}
