//! The contracts of the example chain, in EVM assembly.

use cranevm::primitives::Bytes;
use revm::bytecode::opcode::*;

/// Writes bytecode. Labels are placed once, and may be used before that.
#[derive(Default)]
struct Assembler {
    code: Vec<u8>,
    /// Offset of each label's JUMPDEST.
    labels: Vec<Option<u16>>,
    /// Where a label's offset is to be filled in.
    uses: Vec<(usize, Label)>,
}

#[derive(Clone, Copy)]
struct Label(usize);

impl Assembler {
    fn ops(&mut self, opcodes: &[u8]) -> &mut Self {
        self.code.extend_from_slice(opcodes);
        self
    }

    fn push(&mut self, value: u64) -> &mut Self {
        let bytes = value.to_be_bytes();
        let bytes = &bytes[(value.leading_zeros() / 8) as usize..];
        self.code.push(PUSH0 + bytes.len() as u8);
        self.ops(bytes)
    }

    fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Puts the label's JUMPDEST here.
    fn place(&mut self, label: Label) -> &mut Self {
        self.labels[label.0] = Some(self.code.len() as u16);
        self.ops(&[JUMPDEST])
    }

    fn push_label(&mut self, label: Label) -> &mut Self {
        self.code.push(PUSH2);
        self.uses.push((self.code.len(), label));
        self.ops(&[0, 0])
    }

    fn finish(mut self) -> Bytes {
        for (at, label) in self.uses {
            // A label that was never placed leads to offset 0, which is no JUMPDEST.
            let offset = self.labels[label.0].unwrap_or(0);
            self.code[at..at + 2].copy_from_slice(&offset.to_be_bytes());
        }
        self.code.into()
    }
}

/// `mix(rounds, seed)`: multiplies, shifts and xors in an internal function, keeps a table of 256
/// words in memory, and stores the last word. Hardly anything but computation.
pub(crate) fn mixer() -> Bytes {
    let mut a = Assembler::default();
    let [head, mixed, mix] = [a.label(), a.label(), a.label()];
    a.push(32).ops(&[CALLDATALOAD]).push(0).ops(&[CALLDATALOAD]); // word rounds
    a.place(head).ops(&[SWAP1]).push_label(mixed).ops(&[SWAP1]).push_label(mix).ops(&[JUMP]);
    a.place(mixed); // rounds word
    a.ops(&[DUP1, DUP1]).push(0x1fe0).ops(&[AND, MSTORE]);
    a.ops(&[DUP1]).push(8).ops(&[SHR]).push(0x1fe0).ops(&[AND, MLOAD, ADD]);
    a.ops(&[SWAP1]).push(1).ops(&[SWAP1, SUB, DUP1]).push_label(head).ops(&[JUMPI]);
    a.ops(&[POP]).push(0).ops(&[SSTORE, STOP]);
    a.place(mix); // return word
    a.push(0x5851_f42d_4c95_7f2d).ops(&[MUL]).push(0x1405_7b7e_f767_814f).ops(&[ADD]);
    a.ops(&[DUP1]).push(33).ops(&[SHR, XOR, SWAP1, JUMP]);
    a.finish()
}

/// `visit(first, count)`: adds 1 to so many entries of a mapping, each in a slot of its own. Bound
/// by storage.
pub(crate) fn ledger() -> Bytes {
    let mut a = Assembler::default();
    let head = a.label();
    a.push(0).ops(&[CALLDATALOAD]).push(32).ops(&[CALLDATALOAD]); // key left
    a.place(head).ops(&[SWAP1, DUP1]).push(0).ops(&[MSTORE]); // left key
    a.push(64).push(0).ops(&[KECCAK256, DUP1, SLOAD]).push(1).ops(&[ADD, SWAP1, SSTORE]);
    a.push(1).ops(&[ADD, SWAP1]).push(1).ops(&[SWAP1, SUB, DUP1]).push_label(head);
    a.ops(&[JUMPI, STOP]);
    a.finish()
}

/// `transfer(to, amount)`: moves a balance, logs it, and returns 1; reverts without the funds.
pub(crate) fn token() -> Bytes {
    let mut a = Assembler::default();
    let enough = a.label();
    a.push(32).ops(&[CALLDATALOAD, CALLER]).push(0).ops(&[MSTORE]);
    a.push(64).push(0).ops(&[KECCAK256, DUP1, SLOAD]); // amount slot balance
    a.ops(&[DUP3, DUP2, LT, ISZERO]).push_label(enough).ops(&[JUMPI]);
    a.push(0).push(0).ops(&[REVERT]);
    a.place(enough).ops(&[DUP3, SWAP1, SUB, SWAP1, SSTORE]); // amount
    a.push(0).ops(&[CALLDATALOAD]).push(0).ops(&[MSTORE]);
    a.push(64).push(0).ops(&[KECCAK256, DUP1, SLOAD, DUP3, ADD, SWAP1, SSTORE]);
    a.push(0).ops(&[MSTORE]).push(0).ops(&[CALLDATALOAD, CALLER]).push(TRANSFER);
    a.push(32).push(0).ops(&[LOG3]).push(1).push(0).ops(&[MSTORE]).push(32).push(0);
    a.ops(&[RETURN]);
    a.finish()
}

/// First topic of a token's log.
const TRANSFER: u64 = 0xddf2_52ad;

/// Init code of a contract that counts its calls.
pub(crate) fn counter_init() -> Bytes {
    let runtime = [PUSH0, SLOAD, PUSH1, 1, ADD, PUSH0, SSTORE, STOP];
    let mut a = Assembler::default();
    a.push(7).push(0).ops(&[SSTORE]).push(u64::from_be_bytes(runtime)).push(0).ops(&[MSTORE]);
    a.push(8).push(24).ops(&[RETURN]);
    a.finish()
}
