//! The stack while a contract is put together: what is kept back of it, and how words come into
//! registers and to their slots.

use super::{
    assemble::Assembler,
    key::{Action, DEPTHS, DROPS, REPLACED, Top},
};
use cranevm_passes::{
    decode::Instruction,
    ir::{evaluate::evaluate, opcode::Opcode},
};
use revm_primitives::U256;

/// Most constants that are kept back.
pub(super) const MOST_CONSTANTS: usize = 16;

/// What an instruction of the form `Push` pushes.
pub(super) fn constant(bytecode: &[u8], instruction: &Instruction) -> U256 {
    let pc = instruction.pc as usize;
    match instruction.opcode {
        Opcode::PC => U256::from(pc),
        Opcode::CODESIZE => U256::from(bytecode.len()),
        opcode => {
            let len = opcode.info().map_or(0, |info| usize::from(info.immediate));
            let mut bytes = [0; 32];
            let there = bytecode.get(pc + 1..).unwrap_or_default();
            let there = &there[..len.min(there.len())];
            // What the code lacks is zero.
            let begin = 32 - len;
            bytes[begin..begin + there.len()].copy_from_slice(there);
            U256::from_be_bytes(bytes)
        }
    }
}

impl Assembler<'_> {
    pub(super) fn push(&mut self, instruction: &Instruction) {
        if self.constants.len() == MOST_CONSTANTS {
            self.flush_constants();
        }
        self.constants.push(constant(self.bytecode, instruction));
    }

    pub(super) fn pop(&mut self) {
        if self.constants.pop().is_some() {
            return;
        }
        if self.top == Top::Memory {
            self.drops += 1;
            if self.drops == DROPS {
                self.flush_drops();
            }
        }
        self.top = Top::Memory;
    }

    /// `depth` is from 0.
    pub(super) fn dup(&mut self, depth: usize) {
        if let Some(at) = self.constants.len().checked_sub(depth + 1) {
            let constant = self.constants[at];
            if self.constants.len() == MOST_CONSTANTS {
                self.flush_constants();
            }
            self.constants.push(constant);
            return;
        }
        self.flush_constants();
        if depth == 0 && self.top != Top::Memory {
            self.put(Action::Keep, [0; 2]);
            return;
        }
        self.settle();
        match u8::try_from(depth + 1) {
            Ok(depth @ ..=DEPTHS) => self.put(Action::Dup(depth), [0; 2]),
            _ => {
                self.put_constant(U256::from(32 * (depth + 1)));
                self.put(Action::DupDeep, [0; 2]);
            }
        }
    }

    /// Depths are from 0, the lesser first.
    pub(super) fn exchange(&mut self, upper: usize, lower: usize) {
        if let Some(last) = self.constants.len().checked_sub(1)
            && lower <= last
        {
            self.constants.swap(last - upper, last - lower);
            return;
        }
        self.flush_constants();
        match u8::try_from(lower) {
            Ok(depth @ ..=DEPTHS) if upper == 0 => {
                if self.top == Top::Memory {
                    self.put(Action::Load, [0; 2]);
                }
                self.put(Action::Swap(depth), [0; 2]);
            }
            _ => {
                self.settle();
                self.put_constant(U256::from((32 * (upper + 1)) | ((32 * (lower + 1)) << 16)));
                self.put(Action::Exchange, [0; 2]);
            }
        }
    }

    /// Does an exchange and the POP behind it at once, if there is a stencil for that: the top takes
    /// the place of a word. Depths are from 0.
    pub(super) fn replace(&mut self, upper: usize, lower: usize) -> bool {
        let in_constants = lower < self.constants.len();
        let depth = u8::try_from(lower).unwrap_or(u8::MAX);
        if upper != 0 || in_constants || depth > REPLACED {
            return false;
        }
        self.flush_constants();
        if self.top == Top::Memory {
            self.put(Action::Load, [0; 2]);
        }
        self.put(Action::Replace(depth), [0; 2]);
        true
    }

    /// Computes with constants now, if all operands are.
    pub(super) fn fold(&mut self, opcode: Opcode, inputs: usize) -> bool {
        let Some(from) = self.constants.len().checked_sub(inputs) else { return false };
        if inputs == 0 || !opcode.implementation().computes() {
            return false;
        }
        let mut args = [U256::ZERO; 3];
        let args = &mut args[..inputs.min(3)];
        for (arg, constant) in args.iter_mut().zip(self.constants[from..].iter().rev()) {
            *arg = *constant;
        }
        let Some(word) = evaluate(opcode, args) else { return false };
        self.constants.truncate(from);
        self.constants.push(word);
        true
    }

    /// Writes the stack but for the top word.
    pub(super) fn flush_constants(&mut self) {
        for at in 0..self.constants.len() {
            let constant = self.constants[at];
            self.store_top();
            self.put_constant(constant);
        }
        self.constants.clear();
    }

    /// Writes the whole stack.
    pub(super) fn settle(&mut self) {
        self.flush_constants();
        self.store_top();
        self.flush_drops();
    }

    pub(super) fn store_top(&mut self) {
        if self.top != Top::Memory {
            self.put(Action::Store, [0; 2]);
        }
    }

    pub(super) fn flush_drops(&mut self) {
        let drops = std::mem::take(&mut self.drops);
        if drops > 0 {
            self.put(Action::Drop(drops), [0; 2]);
        }
    }

    /// Pushes a constant, in registers.
    pub(super) fn put_constant(&mut self, constant: U256) {
        let limbs = constant.as_limbs().map(u64::cast_signed);
        let action = match constant.bit_len() {
            0 => Action::Zero,
            1..32 => Action::Small,
            bits => Action::Limbs(bits.div_ceil(64) as u8),
        };
        let number = self.set.find(action, Top::Memory);
        self.put_number(self.known(number), limbs, None);
    }
}
