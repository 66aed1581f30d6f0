//! Programs as lists of instructions with labels: how the tests write and the generator builds
//! EVM code, and how a failing program is printed.
//!
//! A label is pushed as `PUSH2` of its pc, so that a list stays assemblable when the shrinker
//! removes items: a label that is no longer defined is pushed as 0.

use alloy_primitives::{U256, hex};
use revm::bytecode::opcode::{self, OpCode};
use std::fmt::Write as _;

/// A name for a `JUMPDEST`, unique in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(pub u32);

/// One element of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An opcode without immediate.
    Op(u8),
    /// `PUSHn` with its immediate, 1 to 32 bytes.
    Push(Vec<u8>),
    /// `PUSH2` of the pc of a label.
    PushLabel(Label),
    /// `JUMPDEST`.
    Label(Label),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

/// A program under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assembly {
    /// Its elements in order.
    pub items: Vec<Item>,
    next_label: u32,
}

impl Assembly {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// A fresh label, to be placed with [`label`](Self::label).
    pub fn new_label(&mut self) -> Label {
        self.next_label += 1;
        Label(self.next_label - 1)
    }

    /// Appends an opcode.
    pub fn op(mut self, opcode: u8) -> Self {
        self.items.push(Item::Op(opcode));
        self
    }

    /// Appends opcodes.
    pub fn ops(mut self, opcodes: &[u8]) -> Self {
        self.items.extend(opcodes.iter().copied().map(Item::Op));
        self
    }

    /// Appends the shortest `PUSHn` (at least `PUSH1`) of a word.
    pub fn push(self, word: impl TryInto<U256>) -> Self {
        let word = word.try_into().unwrap_or_else(|_| panic!("a word is not negative"));
        self.item(push_item(word))
    }

    /// Appends `PUSH2` of a label.
    pub fn push_label(self, label: Label) -> Self {
        self.item(Item::PushLabel(label))
    }

    /// Appends a `JUMPDEST` that a label names.
    pub fn label(self, label: Label) -> Self {
        self.item(Item::Label(label))
    }

    /// Appends bytes as they are.
    pub fn raw(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.item(Item::Raw(bytes.into()))
    }

    /// Appends the items of another list, whose labels stay apart from those of this one.
    pub fn then(mut self, other: &Self) -> Self {
        let first = self.next_label;
        self.next_label += other.next_label;
        self.items.extend(other.items.iter().cloned().map(|item| match item {
            Item::Label(Label(number)) => Item::Label(Label(first + number)),
            Item::PushLabel(Label(number)) => Item::PushLabel(Label(first + number)),
            item => item,
        }));
        self
    }

    /// Appends code that returns the top stack word.
    pub fn return_top(self) -> Self {
        self.push(0).op(opcode::MSTORE).push(32).push(0).op(opcode::RETURN)
    }

    /// Appends an item.
    pub fn item(mut self, item: Item) -> Self {
        self.items.push(item);
        self
    }

    /// The program's bytes.
    pub fn code(&self) -> Vec<u8> {
        assemble(&self.items)
    }
}

/// The shortest `PUSHn` of a word, at least `PUSH1`.
pub fn push_item(word: U256) -> Item {
    let bytes = word.to_be_bytes_trimmed_vec();
    Item::Push(if bytes.is_empty() { vec![0] } else { bytes })
}

/// The bytes of a list of items.
pub fn assemble(items: &[Item]) -> Vec<u8> {
    let pcs = label_pcs(items);
    let mut code = Vec::new();
    for item in items {
        match item {
            Item::Op(byte) => code.push(*byte),
            Item::Push(bytes) => {
                code.push(opcode::PUSH0 + bytes.len() as u8);
                code.extend_from_slice(bytes);
            }
            Item::PushLabel(label) => {
                let pc = pcs.iter().find(|(l, _)| l == label).map_or(0, |(_, pc)| *pc);
                code.push(opcode::PUSH2);
                code.extend_from_slice(&(pc as u16).to_be_bytes());
            }
            Item::Label(_) => code.push(opcode::JUMPDEST),
            Item::Raw(bytes) => code.extend_from_slice(bytes),
        }
    }
    code
}

fn label_pcs(items: &[Item]) -> Vec<(Label, usize)> {
    let mut pcs = Vec::new();
    let mut pc = 0;
    for item in items {
        if let Item::Label(label) = item {
            pcs.push((*label, pc));
        }
        pc += match item {
            Item::Op(_) | Item::Label(_) => 1,
            Item::Push(bytes) => 1 + bytes.len(),
            Item::PushLabel(_) => 3,
            Item::Raw(bytes) => bytes.len(),
        };
    }
    pcs
}

/// The program as text, one instruction a line, its pc in a comment.
pub fn disassemble(code: &[u8]) -> String {
    let mut text = String::new();
    let mut pc = 0;
    while pc < code.len() {
        let byte = code[pc];
        let Some(op) = OpCode::new(byte) else {
            let _ = writeln!(text, "{:<44}; {pc:#06x}", format!("0x{byte:02x}"));
            pc += 1;
            continue;
        };
        let immediate = op.info().immediate_size() as usize;
        let end = (pc + 1 + immediate).min(code.len());
        let mut line = op.as_str().to_owned();
        if immediate > 0 {
            let _ = write!(line, " 0x{}", hex::encode(&code[pc + 1..end]));
        }
        let truncated = if end - pc - 1 < immediate { " (truncated)" } else { "" };
        let _ = writeln!(text, "{line:<44}; {pc:#06x}{truncated}");
        pc = end;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_resolve_forwards_and_backwards() {
        let mut asm = Assembly::new();
        let (top, end) = (asm.new_label(), asm.new_label());
        let code = asm.label(top).push_label(end).push_label(top).op(opcode::POP).label(end).code();
        assert_eq!(code, hex!("5b 610008 610000 50 5b"));
    }

    #[test]
    fn a_removed_label_is_zero() {
        assert_eq!(assemble(&[Item::PushLabel(Label(3))]), hex!("610000"));
    }

    #[test]
    fn labels_of_appended_lists_are_their_own() {
        let looped = || {
            let mut asm = Assembly::new();
            let start = asm.new_label();
            asm.label(start).push_label(start).op(opcode::JUMP)
        };
        let code = looped().then(&looped()).then(&looped()).code();
        assert_eq!(code, hex!("5b61000056 5b61000556 5b61000a56"));
    }

    #[test]
    fn text_names_truncated_immediates_and_unknown_bytes() {
        let text = disassemble(&hex!("0c 61ff"));
        assert!(text.contains("0x0c") && text.contains("PUSH2 0xff"), "{text}");
        assert!(text.contains("truncated"), "{text}");
    }
}
