//! Instructions with operands: those that may stand inside a block, and of these, those that charge
//! by their operands or by what the state is.

use crate::{
    assembly::{Assembly, Item, push_item},
    case::{SENDER, TARGET},
    programs::{opcodes::activation, values::PEERS},
};
use alloy_primitives::{Address, U256};
use revm::bytecode::opcode::*;

/// Opcodes of which all are run together with each [`inner_opcodes`]: they charge dynamically.
pub const CHARGING: [u8; 21] = [
    SLOAD,
    SSTORE,
    EXP,
    MLOAD,
    MSTORE,
    MSTORE8,
    KECCAK256,
    CALLDATACOPY,
    CODECOPY,
    MCOPY,
    RETURNDATACOPY,
    EXTCODECOPY,
    LOG0,
    LOG1,
    LOG2,
    LOG3,
    LOG4,
    BALANCE,
    EXTCODESIZE,
    EXTCODEHASH,
    // Charges nothing dynamically: what comes after it is the only one that may.
    POP,
];

/// Every opcode that may stand inside a block; of those with an index in their name some.
pub fn inner_opcodes() -> Vec<u8> {
    let ends_block = [
        STOP,
        JUMP,
        JUMPI,
        JUMPDEST,
        RETURN,
        REVERT,
        INVALID,
        SELFDESTRUCT,
        CREATE,
        CREATE2,
        CALL,
        CALLCODE,
        DELEGATECALL,
        STATICCALL,
    ];
    let is_one_of_many = |opcode: u8| {
        let kept = [PUSH1, PUSH2, PUSH32, DUP1, DUP2, DUP16, SWAP1, SWAP2, SWAP16];
        (PUSH1..=SWAP16).contains(&opcode) && !kept.contains(&opcode)
    };
    (0..=u8::MAX)
        .filter(|&opcode| activation(opcode).is_some())
        .filter(|&opcode| !ends_block.contains(&opcode) && !is_one_of_many(opcode))
        .collect()
}

/// How an operand gets onto the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// Pushed.
    Constant,
    /// Loaded from calldata.
    Computed,
    /// The first pushed, the others loaded.
    Mixed,
}

/// An instruction with its operands.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The opcode.
    pub opcode: u8,
    /// Top of the stack first.
    pub words: Vec<U256>,
    /// How they get there.
    pub operands: Operands,
}

impl Piece {
    /// The instruction with the operands of a number: the first are usual ones, the others edges.
    pub fn new(opcode: u8, choice: usize, operands: Operands) -> Self {
        let mut choices = operand_choices(opcode);
        let words = choices.swap_remove(choice % choices.len());
        Self { opcode, words, operands }
    }

    /// Appends pushing the operands and the instruction. Returns how many words it leaves.
    pub fn append(&self, mut asm: Assembly, calldata: &mut Vec<u8>) -> (Assembly, usize) {
        for (index, &word) in self.words.iter().enumerate().rev() {
            let is_constant = match self.operands {
                Operands::Constant => true,
                Operands::Computed => false,
                Operands::Mixed => index == 0,
            };
            asm = if is_constant {
                asm.item(push_item(word))
            } else {
                asm.push(place(calldata, word)).op(CALLDATALOAD)
            };
        }
        let info = OpCode::new(self.opcode).expect("a known opcode");
        let immediate = info.info().immediate_size() as usize;
        let asm = asm.item(Item::Raw([vec![self.opcode], vec![0; immediate]].concat()));
        let words = self.words.len() + info.outputs() as usize - info.inputs() as usize;
        (asm, words)
    }
}

/// The offset of a word in the calldata, where it is added unless it is there.
fn place(calldata: &mut Vec<u8>, word: U256) -> usize {
    let bytes = word.to_be_bytes::<32>();
    let found = calldata.chunks(32).position(|chunk| chunk == bytes);
    let index = found.unwrap_or(calldata.len() / 32);
    if found.is_none() {
        calldata.extend(bytes);
    }
    32 * index
}

fn words<const N: usize>(words: [u64; N]) -> Vec<U256> {
    words.map(U256::from).into()
}

fn of_address(address: Address) -> U256 {
    address.into_word().into()
}

/// Sets of operands of an opcode, top of the stack first.
fn operand_choices(opcode: u8) -> Vec<Vec<U256>> {
    let (max, half) = (U256::MAX, U256::ONE << 255);
    let far = U256::ONE << 64;
    match opcode {
        SLOAD | TLOAD => vec![words([7]), words([1]), vec![max]],
        // A new slot, one that is emptied, one that stays, one that changes.
        SSTORE | TSTORE => vec![words([7, 1]), words([1, 0]), words([1, 5]), words([1, 6])],
        EXP => vec![words([3, 0x100]), words([3, 9]), words([2, 0]), vec![U256::from(3), max]],
        MLOAD => vec![words([0x1000]), words([0x40]), words([0]), words([1 << 40]), vec![far]],
        MSTORE | MSTORE8 => {
            let offsets = [0x1000, 0x40, 0, 1 << 40].map(|offset| words([offset, 0xabcd]));
            offsets.into_iter().chain([vec![far, max]]).collect()
        }
        KECCAK256 => vec![
            words([0, 0x40]),
            words([0x800, 0x123]),
            words([0, 0]),
            vec![max, U256::ZERO],
            vec![U256::ZERO, far],
        ],
        CALLDATACOPY | CODECOPY | MCOPY => vec![
            words([0x20, 0, 0x45]),
            words([0x800, 3, 0x200]),
            words([0, 0, 0]),
            vec![U256::ZERO, max, U256::from(0x61)],
            vec![max, U256::ZERO, U256::ONE],
        ],
        // There are 64 bytes.
        RETURNDATACOPY => vec![
            words([0x20, 0, 0x40]),
            words([0x800, 8, 0x21]),
            words([0, 0x40, 0]),
            words([0, 0x20, 0x21]),
            vec![U256::ZERO, max, U256::ONE],
        ],
        EXTCODECOPY => [[0x20, 0, 0x45], [0x800, 3, 0x200], [0, 0, 0]]
            .map(|copy| [vec![of_address(PEERS[1])], words(copy)].concat())
            .into(),
        LOG0..=LOG4 => {
            let topics = vec![U256::from(0x77); usize::from(opcode - LOG0)];
            let data = [words([0, 0x20]), words([0x400, 0x101]), vec![max, U256::ZERO]];
            data.map(|data| [data, topics.clone()].concat()).into()
        }
        BALANCE | EXTCODESIZE | EXTCODEHASH => {
            [PEERS[1], TARGET, SENDER, Address::repeat_byte(0x99)]
                .map(|a| vec![of_address(a)])
                .into()
        }
        BLOCKHASH => vec![words([990]), words([0]), vec![max]],
        CALLDATALOAD => vec![words([1]), vec![max]],
        _ => match OpCode::new(opcode).map_or(0, |opcode| opcode.inputs()) {
            _ if (DUP1..=SWAP16).contains(&opcode) => vec![vec![]],
            0 => vec![vec![]],
            1 => vec![words([5]), vec![max], words([0])],
            2 => vec![words([5, 8]), vec![U256::from(31), max], vec![max, half], words([256, 0])],
            _ => vec![words([5, 8, 7]), vec![max, max, half], words([1, 2, 0])],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opcode_has_its_operands() {
        for opcode in inner_opcodes() {
            let inputs = OpCode::new(opcode).map_or(0, |opcode| opcode.inputs() as usize);
            let moves_words = (DUP1..=SWAP16).contains(&opcode);
            for words in operand_choices(opcode) {
                assert!(moves_words || words.len() == inputs, "0x{opcode:02x}: {words:?}");
            }
        }
        assert!(inner_opcodes().len() > 80, "{}", inner_opcodes().len());
        assert!(CHARGING.iter().all(|opcode| inner_opcodes().contains(opcode)));
    }

    #[test]
    fn a_computed_operand_stands_in_the_calldata_once() {
        let mut calldata = Vec::new();
        let piece = Piece::new(ADD, 2, Operands::Computed);
        let (asm, left) = piece.append(Assembly::new(), &mut calldata);
        assert_eq!((left, calldata.len()), (1, 64));
        piece.append(asm, &mut calldata);
        assert_eq!(calldata.len(), 64);
    }
}
