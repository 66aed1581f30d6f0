//! Bytes to instructions, and the set of valid jump targets.
//!
//! Decoding is one walk from the first byte. It agrees with revm in two respects that could
//! differ: which bytes are jump targets (`revm_bytecode::legacy::analysis`), and which
//! instructions execution meets. revm's jump analysis skips the immediates of `PUSH` alone,
//! while `DUPN`, `SWAPN` and `EXCHANGE` also execute past a byte. EIP-8024 keeps the two
//! together: no valid immediate of these three is JUMPDEST or `PUSH`, and with an invalid one
//! the opcode fails. Such an opcode is therefore decoded as one byte that hands over,
//! and the walk goes on with the immediate itself, as the jump analysis does.
//!
//! A **foreign** opcode is one for which a chain has an instruction of its own, or one that isn't
//! known to be revm's. What it does to its frame is the chain's business, so it isn't compiled
//! either; but it may well go on, and then compiled code does too, with the instruction after it.
//!
//! Cost: one table look-up per instruction; eight bytes of memory per instruction and a bit
//! and a half per byte of code.

use crate::ir::implementation::Implementation;
use crate::ir::opcode::{Opcode, OpcodeSet};
use revm_primitives::hardfork::SpecId;

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Offset of the opcode in the bytecode.
    pub pc: u32,
    /// The opcode.
    pub opcode: Opcode,
    /// What it means to the passes.
    pub form: Form,
}

impl Instruction {
    /// Whether a jump may lead here, also where the opcode is foreign.
    pub fn is_jumpdest(&self) -> bool {
        self.opcode == Opcode::JUMPDEST
    }

    /// Where the next instruction is: beyond the code if that lacks bytes.
    pub fn end(&self) -> u32 {
        self.pc + 1 + immediate_len(self.opcode, self.form) as u32
    }
}

/// What an instruction means to the passes. Depths count from the top of the stack, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `JUMPDEST`: only gas.
    JumpDest,
    /// Pushes a constant: `PUSH*`, `PC`, `CODESIZE`.
    Push,
    /// Drops the top word.
    Pop,
    /// Pushes the word at a depth.
    Dup(u8),
    /// Exchanges the words at two depths, the lesser first.
    Exchange(u8, u8),
    /// Pops arguments, pushes at most one result.
    Compute,
    /// `JUMP`.
    Jump,
    /// `JUMPI`.
    Branch,
    /// `STOP`.
    Stop,
    /// `RETURN`, `REVERT` or `SELFDESTRUCT`.
    Exit,
    /// `CALL*` or `CREATE*`.
    Suspend,
    /// Not compiled: unassigned, not activated, INVALID, or with an invalid immediate.
    HandOver,
    /// Not compiled, for it isn't revm's; the instruction after it is.
    Foreign,
}

impl Form {
    /// Whether an instruction is the last of its block.
    pub const fn ends_block(self) -> bool {
        match self {
            Self::Jump
            | Self::Branch
            | Self::Stop
            | Self::Exit
            | Self::Suspend
            | Self::HandOver
            | Self::Foreign => true,
            Self::JumpDest
            | Self::Push
            | Self::Pop
            | Self::Dup(_)
            | Self::Exchange(..)
            | Self::Compute => false,
        }
    }
}

/// A decoded contract.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The instructions in order of pc, unreachable ones included.
    pub instructions: Vec<Instruction>,
    /// The valid jump targets.
    pub jumpdests: JumpDests,
    /// Offset of the byte behind the last instruction, where the interpreter stops: beyond the code
    /// if that lacks bytes.
    pub end: u32,
}

/// The valid jump targets of a contract, numbered in order of pc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JumpDests {
    /// Bit `pc % 64` of word `pc / 64` tells whether `pc` is a target.
    words: Vec<u64>,
    /// Targets before each word.
    before: Vec<u32>,
}

impl JumpDests {
    /// The targets whose bits these are.
    pub fn new(words: Vec<u64>) -> Self {
        let mut count = 0;
        let before = words
            .iter()
            .map(|word| {
                let before = count;
                count += word.count_ones();
                before
            })
            .collect();
        Self { words, before }
    }

    /// The number of the target at `pc` among all targets, or `None` if it isn't one.
    pub fn number(&self, pc: usize) -> Option<usize> {
        let word = *self.words.get(pc / 64)?;
        let bit = 1u64 << (pc % 64);
        let below = (word & (bit - 1)).count_ones();
        (word & bit != 0).then(|| (self.before[pc / 64] + below) as usize)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let last = self.words.len().wrapping_sub(1);
        match (self.before.get(last), self.words.get(last)) {
            (Some(before), Some(word)) => (before + word.count_ones()) as usize,
            _ => 0,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `pc` is a target.
    pub fn contains(&self, pc: usize) -> bool {
        self.number(pc).is_some()
    }
}

/// Decodes `code` for a fork. The caller bounds the length of `code` to `u32`.
pub fn decode(code: &[u8], spec: SpecId, foreign: OpcodeSet) -> Decoded {
    let mut instructions = Vec::with_capacity(code.len() / 2 + 1);
    let mut words = vec![0u64; code.len().div_ceil(64)];
    let mut pc = 0;
    while pc < code.len() {
        let instruction = decode_at(code, pc, spec, foreign);
        instructions.push(instruction);
        if instruction.is_jumpdest() {
            words[pc / 64] |= 1 << (pc % 64);
        }
        pc = instruction.end() as usize;
    }
    Decoded { instructions, jumpdests: JumpDests::new(words), end: pc as u32 }
}

/// Decodes the instruction at a pc, which is in the code.
#[inline]
pub(crate) fn decode_at(code: &[u8], pc: usize, spec: SpecId, foreign: OpcodeSet) -> Instruction {
    let opcode = Opcode::new(code[pc]);
    // revm pads the code with zeros, so a missing immediate is zero.
    let immediate = code.get(pc + 1).copied().unwrap_or(0);
    let form = match form_of(opcode, immediate, spec) {
        Form::HandOver => Form::HandOver,
        _ if foreign.bit(usize::from(opcode.get())) => Form::Foreign,
        form => form,
    };
    Instruction { pc: pc as u32, opcode, form }
}

/// The opcodes in `code` that code is made for, by its own means or revm's: unreachable ones
/// included.
pub fn compiled_opcodes(code: &[u8], spec: SpecId, foreign: OpcodeSet) -> OpcodeSet {
    let mut occurs = [false; 256];
    let mut pc = 0;
    while let Some(&byte) = code.get(pc) {
        occurs[usize::from(byte)] = true;
        // One that may be handed over ends after its own byte, so the byte after it may be one,
        // too.
        pc += 1 + immediate_len(Opcode::new(byte), Form::HandOver);
    }
    let is_compiled = |&byte: &usize| {
        let opcode = Opcode::new(byte as u8);
        occurs[byte] && opcode != Opcode::INVALID && opcode.is_active(spec) && !foreign.bit(byte)
    };
    let mut set = OpcodeSet::ZERO;
    (0..occurs.len()).filter(is_compiled).for_each(|byte| set.set_bit(byte, true));
    set
}

/// The opcodes of these instructions that code is made for.
pub fn opcodes_of(instructions: &[Instruction]) -> OpcodeSet {
    let mut occurs = [0u64; 4];
    for instruction in instructions {
        if !matches!(instruction.form, Form::HandOver | Form::Foreign) {
            let byte = usize::from(instruction.opcode.get());
            occurs[byte / 64] |= 1 << (byte % 64);
        }
    }
    OpcodeSet::from_limbs(occurs)
}

/// Bytes after the opcode that execution and the jump analysis both skip.
fn immediate_len(opcode: Opcode, form: Form) -> usize {
    match opcode.get() {
        byte @ 0x60..=0x7f => usize::from(byte - 0x5f),
        0xe6..=0xe8 if !matches!(form, Form::HandOver | Form::Foreign) => 1,
        _ => 0,
    }
}

fn form_of(opcode: Opcode, immediate: u8, spec: SpecId) -> Form {
    let Some(info) = opcode.info().filter(|info| info.is_active(spec)) else {
        return Form::HandOver;
    };
    match info.implementation {
        Implementation::Stack => stack_form(opcode, immediate),
        Implementation::Jump => Form::Jump,
        Implementation::Branch => Form::Branch,
        Implementation::Stop => Form::Stop,
        Implementation::Exit => Form::Exit,
        Implementation::Suspend => Form::Suspend,
        Implementation::HandOver => Form::HandOver,
        Implementation::Native
        | Implementation::Words
        | Implementation::Memory
        | Implementation::Charged
        | Implementation::Delegated => Form::Compute,
    }
}

/// The form of an opcode of which no instruction is left.
fn stack_form(opcode: Opcode, immediate: u8) -> Form {
    match opcode {
        Opcode::JUMPDEST => Form::JumpDest,
        Opcode::POP => Form::Pop,
        Opcode::DUPN => decode_single(immediate).map_or(Form::HandOver, |n| Form::Dup(n - 1)),
        Opcode::SWAPN => decode_single(immediate).map_or(Form::HandOver, |n| Form::Exchange(0, n)),
        Opcode::EXCHANGE => {
            decode_pair(immediate).map_or(Form::HandOver, |(n, m)| Form::Exchange(n, m))
        }
        _ => match opcode.get() {
            byte @ 0x80..=0x8f => Form::Dup(byte - 0x80),
            byte @ 0x90..=0x9f => Form::Exchange(0, byte - 0x8f),
            // PUSH, PC and CODESIZE.
            _ => Form::Push,
        },
    }
}

/// The operand of `DUPN` and `SWAPN`, 17 to 235, per EIP-8024.
const fn decode_single(immediate: u8) -> Option<u8> {
    match immediate {
        91..=127 => None,
        _ => Some(immediate.wrapping_add(145)),
    }
}

/// The operands of `EXCHANGE`, the lesser first, per EIP-8024.
const fn decode_pair(immediate: u8) -> Option<(u8, u8)> {
    if matches!(immediate, 82..=127) {
        return None;
    }
    let mixed = immediate ^ 143;
    let (high, low) = (mixed / 16, mixed % 16);
    if high < low { Some((high + 1, low + 1)) } else { Some((low + 1, 29 - high)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm_bytecode::Bytecode;

    const ACTIVE: SpecId = SpecId::AMSTERDAM;
    const INACTIVE: SpecId = SpecId::OSAKA;

    fn forms(code: &[u8], spec: SpecId) -> Vec<(u32, Form)> {
        forms_with(code, spec, OpcodeSet::ZERO)
    }

    fn forms_with(code: &[u8], spec: SpecId, foreign: OpcodeSet) -> Vec<(u32, Form)> {
        decode(code, spec, foreign).instructions.iter().map(|i| (i.pc, i.form)).collect()
    }

    /// Each byte after each of the opcodes with immediates, between JUMPDESTs.
    #[test]
    fn jump_targets_equal_the_interpreters() {
        for spec in [INACTIVE, ACTIVE] {
            for opcode in (0x5b..=0x7f).chain(0xe5..=0xe9) {
                for next in 0..=u8::MAX {
                    let mut code = vec![0x5b, opcode, next];
                    code.resize(40, 0x5b);
                    let decoded = decode(&code, spec, OpcodeSet::ZERO);
                    let bytecode = Bytecode::new_raw(code.clone().into());
                    let table = bytecode.legacy_jump_table().expect("a legacy bytecode");
                    let mut number = 0;
                    for pc in 0..code.len() + 70 {
                        let expected = table.is_valid(pc).then_some(number);
                        number += usize::from(expected.is_some());
                        assert_eq!(decoded.jumpdests.number(pc), expected, "{code:02x?} at {pc}");
                    }
                }
            }
        }
    }

    #[test]
    fn immediates_of_eip_8024() {
        assert_eq!(decode_single(0x80), Some(17));
        assert_eq!(decode_single(0xff), Some(144));
        assert_eq!(decode_single(0), Some(145));
        assert_eq!(decode_single(90), Some(235));
        assert_eq!(decode_single(0x5b), None);
        assert_eq!(decode_single(0x7f), None);
        assert_eq!(decode_pair(0x8e), Some((1, 2)));
        assert_eq!(decode_pair(0x52), None);
        for immediate in 0..=u8::MAX {
            if let Some((n, m)) = decode_pair(immediate) {
                assert!(0 < n && n < m && m <= 29, "{immediate:#x}: {n}, {m}");
            }
        }
    }

    #[test]
    fn an_invalid_immediate_may_be_a_jump_target() {
        let expected = [(0, Form::HandOver), (1, Form::JumpDest), (2, Form::Stop)];
        assert_eq!(forms(&[0xe6, 0x5b, 0x00], ACTIVE), expected);
        assert_eq!(forms(&[0xe6, 0x80, 0x00], ACTIVE), [(0, Form::Dup(16)), (2, Form::Stop)]);
        let inactive = [(0, Form::HandOver), (1, Form::Dup(0)), (2, Form::Stop)];
        assert_eq!(forms(&[0xe6, 0x80, 0x00], INACTIVE), inactive);
    }

    #[test]
    fn foreign_opcodes_keep_their_length_and_jump_targets_their_places() {
        let set = |bytes: &[usize]| {
            let with = |set: OpcodeSet, &byte| set | OpcodeSet::from(1) << byte;
            bytes.iter().fold(OpcodeSet::ZERO, with)
        };
        let foreign = set(&[0x31, 0x5b, 0x61, 0xe6]);
        let code = [0x31, 0x61, 0x5b, 0x5b, 0x5b, 0xe6, 0x80, 0x00, 0x0c];
        let expected = [
            (0, Form::Foreign),
            (1, Form::Foreign),
            (4, Form::Foreign),
            (5, Form::Foreign),
            (6, Form::Dup(0)),
            (7, Form::Stop),
            (8, Form::HandOver),
        ];
        assert_eq!(forms_with(&code, ACTIVE, foreign), expected);
        let decoded = decode(&code, ACTIVE, foreign);
        assert_eq!([2, 3, 4].map(|pc| decoded.jumpdests.contains(pc)), [false, false, true]);
        assert_eq!(compiled_opcodes(&code, ACTIVE, foreign), set(&[0x80, 0x00]));
        assert_eq!(compiled_opcodes(&[0xfe, 0xe6, 0x01], INACTIVE, foreign), set(&[0x01]));
        // What a fork doesn't have is handed over, whosever it is.
        assert_eq!(forms_with(&[0xe6], INACTIVE, foreign), [(0, Form::HandOver)]);
    }

    #[test]
    fn missing_immediates_are_zero() {
        assert_eq!(forms(&[0xe7], ACTIVE), [(0, Form::Exchange(0, 145))]);
        assert_eq!(forms(&[0x7f, 0x5b], ACTIVE), [(0, Form::Push)]);
        assert!(!decode(&[0x7f, 0x5b], ACTIVE, OpcodeSet::ZERO).jumpdests.contains(1));
    }
}
