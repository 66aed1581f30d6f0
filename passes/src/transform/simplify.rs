//! Constant folding and rewriting of single instructions, while they are lifted.
//!
//! [`simplify`] looks at an opcode and its arguments, and through the instructions of the same
//! block that made them. The answer is a value that is there already, a constant, or one cheaper
//! instruction in place of the opcode. The rules ([`rules`]) are directional: each leads to
//! something that costs less, or as much and shows more to the next rule; a bounded number of them
//! is applied in a row. No rule needs more static gas than it replaces, as if the cheaper program
//! had been written, but gas is charged for the opcodes that are in the bytecode.
//!
//! Only opcodes that compiled code computes by itself are touched, so an instruction of revm that
//! a chain replaces is never skipped.
//!
//! Cost: a constant number of table look-ups for each instruction.

mod rules;

use crate::ir::entities::Value;
use crate::ir::opcode::Opcode;
use crate::ir::program::{InstData, ValueData, ValueDef};
use crate::ir::width::constant_bits;
use alloy_primitives::U256;
use cranelift_entity::PrimaryMap;
use rules::rewrite;

/// Most rules applied to one instruction.
const MAX_REWRITES: usize = 4;

/// Most arguments of an opcode that rules exist for.
const MAX_ARGS: usize = 3;

/// An argument: a value of the block, or a constant that isn't one yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// A value.
    Value(Value),
    /// A constant.
    Const(U256),
}

/// What an instruction becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Simplified {
    /// Its result is known without it.
    Known(Operand),
    /// Another instruction, of the first so many operands.
    Inst(Opcode, [Operand; MAX_ARGS], usize),
}

/// What a rule makes of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rewrite {
    /// This operand is the result.
    Same(Operand),
    /// The result is a constant.
    Const(U256),
    /// An opcode with one operand.
    Unary(Opcode, Operand),
    /// An opcode with two operands, top of stack first.
    Binary(Opcode, Operand, Operand),
}

/// The block so far, as far as rules look at it.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// All values.
    pub(crate) values: &'a PrimaryMap<Value, ValueData>,
    /// The block's instructions.
    pub(crate) insts: &'a [InstData],
    /// The number of the first of `insts`.
    pub(crate) first_inst: u32,
    /// All arguments.
    pub(crate) arg_pool: &'a [Value],
    /// Whether the fork has shifts.
    pub(crate) has_shifts: bool,
}

/// What an instruction becomes; `None` if no rule applies.
pub(crate) fn simplify(facts: Facts<'_>, opcode: Opcode, args: &[Value]) -> Option<Simplified> {
    if opcode.get() > Opcode::CLZ.get() || args.len() > MAX_ARGS {
        return None;
    }
    let mut operands = [Operand::Const(U256::ZERO); MAX_ARGS];
    for (operand, &arg) in operands.iter_mut().zip(args) {
        *operand = facts.operand(arg);
    }
    let (mut opcode, mut count, mut result) = (opcode, args.len(), None);
    for _ in 0..MAX_REWRITES {
        match rewrite(facts, opcode, &operands[..count]) {
            None => break,
            Some(Rewrite::Same(operand)) => return Some(Simplified::Known(operand)),
            Some(Rewrite::Const(word)) => return Some(Simplified::Known(Operand::Const(word))),
            Some(Rewrite::Unary(cheaper, x)) => {
                (opcode, operands[0], count) = (cheaper, x, 1);
            }
            Some(Rewrite::Binary(cheaper, x, y)) => {
                (opcode, operands[0], operands[1], count) = (cheaper, x, y, 2);
            }
        }
        result = Some(Simplified::Inst(opcode, operands, count));
    }
    result
}

/// The value that decides a branch as `condition` does: without a double negation.
pub(crate) fn simplify_condition(facts: Facts<'_>, condition: Value) -> Value {
    let negated = |value| match facts.definition(Operand::Value(value)) {
        Some((Opcode::ISZERO, &[inner])) => Some(inner),
        _ => None,
    };
    negated(condition).and_then(negated).unwrap_or(condition)
}

impl<'a> Facts<'a> {
    /// A value as an operand.
    fn operand(self, value: Value) -> Operand {
        match self.values[value].def {
            ValueDef::Const(word) => Operand::Const(word),
            _ => Operand::Value(value),
        }
    }

    /// An upper bound on an operand's bits.
    fn bits(self, operand: Operand) -> u16 {
        match operand {
            Operand::Value(value) => self.values[value].bits,
            Operand::Const(word) => constant_bits(word),
        }
    }

    /// The opcode and the arguments that made an operand.
    fn definition(self, operand: Operand) -> Option<(Opcode, &'a [Value])> {
        let Operand::Value(value) = operand else { return None };
        let ValueDef::Result(inst) = self.values[value].def else { return None };
        let inst = self.insts.get(inst.as_u32().checked_sub(self.first_inst)? as usize)?;
        Some((inst.opcode, &self.arg_pool[inst.args.start as usize..inst.args.end as usize]))
    }

    /// The opcode that made an operand, its other operand, and its constant, if it has one where
    /// the opcode has it usually: see [`has_constant_first`].
    fn inner(self, operand: Operand) -> Option<(Opcode, Operand, U256)> {
        let (opcode, &[x, y]) = self.definition(operand)? else { return None };
        let (x, y) = (self.operand(x), self.operand(y));
        match (x, y) {
            (_, Operand::Const(word)) if !has_constant_first(opcode) => Some((opcode, x, word)),
            (Operand::Const(word), _) if has_constant_first(opcode) || is_commutative(opcode) => {
                Some((opcode, y, word))
            }
            _ => None,
        }
    }
}

/// Whether an opcode's constant is usually the first operand: an amount or an index.
fn has_constant_first(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::SHL | Opcode::SHR | Opcode::SAR | Opcode::BYTE | Opcode::SIGNEXTEND)
}

fn is_commutative(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::ADD | Opcode::MUL | Opcode::AND | Opcode::OR | Opcode::XOR | Opcode::EQ
    )
}
