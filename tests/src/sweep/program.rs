//! The programs of the sweep: a charge, then the last instruction before a block's end, then the
//! end.
//!
//! ```text
//! gas beyond the floor of the calldata's price, return data, words on the stack, slots and
//! accounts that were met before
//! JUMPDEST
//! cheap instructions, the charge, cheap instructions, the last instruction, cheap instructions
//! the end of the block, and a block that shows the gas left
//! ```

use super::{
    endings::Ending,
    pieces::{Operands, Piece},
};
use crate::{
    assembly::{Assembly, Label},
    case::{Case, TARGET},
    programs::{opcodes::available, values::PEERS},
};
use alloy_primitives::U256;
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};

/// Gas with which a program runs to its end.
const PLENTY: u64 = 2_000_000;

/// Gas of a reservoir of state gas (EIP-8037).
const RESERVOIR: u64 = 60_000;

/// Cold slots, of 2,100 gas each, by which a transaction spends more than its calldata's floor
/// (EIP-7976) before its block begins: a gas limit below the floor is refused.
const FLOOR_PAYERS: usize = 6;

/// Numbers of cheap instructions.
const PADDING: [usize; 3] = [0, 3, 24];

/// Words below those of the block: more than any instruction reaches.
const WORDS_BELOW: usize = 24;

/// All that a program depends on. Programs that differ in `choice` alone differ in operands,
/// padding, fork, and what ran before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Charges dynamically.
    pub charge: u8,
    /// The last instruction before the end.
    pub last: u8,
    /// The end.
    pub ending: Ending,
    /// Everything else.
    pub choice: u64,
}

/// Takes one of some choices after the other out of a number.
struct Choices(u64);

impl Choices {
    fn below(&mut self, count: usize) -> usize {
        let found = (self.0 % count as u64) as usize;
        self.0 /= count as u64;
        found
    }

    fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[self.below(N)]
    }
}

/// A program and where its block begins.
#[derive(Clone, Debug)]
pub struct SweepProgram {
    /// Runs to its end.
    pub case: Case,
    /// pc of the block.
    pub pc: usize,
    /// Whether state gas has a reservoir.
    has_reservoir: bool,
}

impl Shape {
    /// The program.
    pub fn program(&self) -> SweepProgram {
        let mut choices = Choices(self.choice);
        let operands = [Operands::Constant, Operands::Computed, Operands::Mixed];
        let of_charge = choices.below(5);
        let charge = Piece::new(self.charge, of_charge, choices.pick(operands));
        let last = Piece::new(self.last, choices.below(5), choices.pick(operands));
        let padding = [(); 3].map(|()| choices.pick(PADDING));
        // With the first sets of operands nothing fails.
        let was_met = choices.below(3) == 0 && of_charge < 3;
        let spec = self.spec(&mut choices);
        let has_reservoir = spec.is_enabled_in(SpecId::AMSTERDAM) && choices.below(2) == 0;

        let mut calldata = Vec::new();
        let mut asm = self.prologue(spec);
        let head = asm.new_label();
        if was_met {
            asm = balanced(asm, &charge, &mut calldata).push_label(head).op(JUMP);
        }
        let pc = asm.code().len();
        let asm = asm.label(head);
        let asm = self.block(asm, [&charge, &last], padding, head, &mut calldata);
        let code = asm.code();
        let mut case = Case::new(spec, code).data(calldata).gas(PLENTY);
        case = case.contract(PEERS[0], peer_code()).contract(PEERS[1], vec![STOP; 40]);
        let slots = [1, 2].map(|slot| (U256::from(slot), U256::from(5)));
        case.accounts.entry(TARGET).or_default().storage.extend(slots);
        SweepProgram { case, pc, has_reservoir }
    }

    /// A fork that has the opcodes. Those before Prague have no floor of the calldata's price.
    fn spec(&self, choices: &mut Choices) -> SpecId {
        use SpecId::{AMSTERDAM, BERLIN, BYZANTIUM, CANCUN, FRONTIER, ISTANBUL, OSAKA};
        let older = choices.pick([BERLIN, ISTANBUL, BYZANTIUM, FRONTIER]);
        let spec = choices.pick([CANCUN, CANCUN, CANCUN, AMSTERDAM, AMSTERDAM, OSAKA, older]);
        let opcodes = [self.charge, self.last, self.ending.opcode()];
        let has_all = opcodes.iter().all(|&opcode| available(opcode, spec));
        if has_all { spec } else { AMSTERDAM }
    }

    fn prologue(&self, spec: SpecId) -> Assembly {
        let mut asm = Assembly::new();
        if spec.is_enabled_in(SpecId::PRAGUE) {
            for slot in 0..FLOOR_PAYERS {
                asm = asm.push(100 + slot).op(SLOAD).op(POP);
            }
        }
        if [self.charge, self.last].contains(&RETURNDATACOPY) {
            let peer: U256 = PEERS[0].into_word().into();
            asm = asm.push(0).push(0).push(0).push(0).push(0).push(peer).push(9_000).op(CALL);
        }
        // The topmost is the counter of a loop.
        (0..WORDS_BELOW).fold(asm, |asm, word| asm.push(1 + (word + 1) % 3))
    }

    fn block(
        &self,
        mut asm: Assembly,
        [charge, last]: [&Piece; 2],
        padding: [usize; 3],
        head: Label,
        calldata: &mut Vec<u8>,
    ) -> Assembly {
        asm = pad(asm, padding[0]);
        asm = pad(balanced(asm, charge, calldata), padding[1]);
        let (with_last, left) = last.append(asm, calldata);
        // A branch on the result takes it itself; a loop has no more words in its next round.
        let popped = match self.ending {
            Ending::BranchOnResult if left > 0 => 0,
            Ending::Loop => left,
            _ if padding[2] == 0 => 0,
            _ => left,
        };
        let asm = (0..popped).fold(with_last, |asm, _| asm.op(POP));
        self.ending.append(pad(asm, padding[2]), head)
    }
}

impl SweepProgram {
    /// The case with a gas limit: of regular gas, where there is a reservoir of state gas.
    pub fn limited(&self, gas: u64) -> Case {
        let case = self.case.clone();
        if self.has_reservoir { case.gas(gas + RESERVOIR).gas_cap(gas) } else { case.gas(gas) }
    }

    /// The case with gas to its end.
    pub fn unlimited(&self) -> Case {
        self.limited(PLENTY)
    }
}

/// Appends an instruction and takes off what it leaves.
fn balanced(asm: Assembly, piece: &Piece, calldata: &mut Vec<u8>) -> Assembly {
    let (asm, left) = piece.append(asm, calldata);
    (0..left).fold(asm, |asm, _| asm.op(POP))
}

/// Appends cheap instructions.
fn pad(asm: Assembly, count: usize) -> Assembly {
    (0..count).fold(asm, |asm, index| match index % 3 {
        0 => asm.op(CALLVALUE).op(POP),
        1 => asm.op(CALLER).op(ISZERO).op(POP),
        _ => asm.op(PC).op(POP),
    })
}

/// Returns 64 bytes.
fn peer_code() -> Vec<u8> {
    Assembly::new().op(CALLER).push(0).op(MSTORE).push(64).push(0).op(RETURN).code()
}
