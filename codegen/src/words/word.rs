//! A 256-bit word in Cranelift's IR: four 64-bit limbs, each a constant or an SSA value, and an
//! upper bound on its bits.
//!
//! Constants fold limb by limb while the word is built, so a narrow or partly known word costs only
//! the instructions of its unknown limbs. Limbs at or above the bound are the constant zero.

use cranelift_codegen::ir::{
    self, InstBuilder,
    condcodes::{CondCode, IntCC},
    types,
};
use cranelift_frontend::FunctionBuilder;
use revm_primitives::U256;

/// 64 bits of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limb {
    /// Known at compile time.
    Const(u64),
    /// An `i64`.
    Value(ir::Value),
    /// An `i8` that is 0 or 1: a comparison's result, widened when it is needed.
    Flag(ir::Value),
}

/// A 256-bit word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    /// Least significant limb first.
    pub(crate) limbs: [Limb; 4],
    /// The word is less than `2^bits`.
    pub(crate) bits: u16,
}

impl Limb {
    pub(crate) const ZERO: Self = Self::Const(0);

    /// The limb as an `i64`.
    pub(crate) fn value(self, b: &mut FunctionBuilder<'_>) -> ir::Value {
        match self {
            Self::Const(bits) => b.ins().iconst(types::I64, bits as i64),
            Self::Value(value) => value,
            Self::Flag(flag) => b.ins().uextend(types::I64, flag),
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    pub(crate) fn and(self, other: Self, b: &mut FunctionBuilder<'_>) -> Self {
        match (self, other) {
            (Self::Const(x), Self::Const(y)) => Self::Const(x & y),
            (Self::Const(0), _) | (_, Self::Const(0)) => Self::ZERO,
            (Self::Const(u64::MAX), limb) | (limb, Self::Const(u64::MAX)) => limb,
            (Self::Flag(x), Self::Flag(y)) => Self::Flag(b.ins().band(x, y)),
            (x, y) if x == y => x,
            (x, y) => {
                let (x, y) = (x.value(b), y.value(b));
                Self::Value(b.ins().band(x, y))
            }
        }
    }

    pub(crate) fn or(self, other: Self, b: &mut FunctionBuilder<'_>) -> Self {
        match (self, other) {
            (Self::Const(x), Self::Const(y)) => Self::Const(x | y),
            (Self::Const(0), limb) | (limb, Self::Const(0)) => limb,
            (Self::Const(u64::MAX), _) | (_, Self::Const(u64::MAX)) => Self::Const(u64::MAX),
            (Self::Flag(x), Self::Flag(y)) => Self::Flag(b.ins().bor(x, y)),
            (x, y) if x == y => x,
            (x, y) => {
                let (x, y) = (x.value(b), y.value(b));
                Self::Value(b.ins().bor(x, y))
            }
        }
    }

    pub(crate) fn xor(self, other: Self, b: &mut FunctionBuilder<'_>) -> Self {
        match (self, other) {
            (Self::Const(x), Self::Const(y)) => Self::Const(x ^ y),
            (Self::Const(0), limb) | (limb, Self::Const(0)) => limb,
            (Self::Flag(x), Self::Flag(y)) => Self::Flag(b.ins().bxor(x, y)),
            (x, y) if x == y => Self::ZERO,
            (x, y) => {
                let (x, y) = (x.value(b), y.value(b));
                Self::Value(b.ins().bxor(x, y))
            }
        }
    }

    pub(crate) fn not(self, b: &mut FunctionBuilder<'_>) -> Self {
        match self {
            Self::Const(x) => Self::Const(!x),
            limb => {
                let value = limb.value(b);
                Self::Value(b.ins().bnot(value))
            }
        }
    }

    /// Shifted left by less than 64.
    pub(crate) fn shl(self, amount: u32, b: &mut FunctionBuilder<'_>) -> Self {
        match self {
            limb if amount == 0 => limb,
            Self::Const(x) => Self::Const(x << amount),
            limb => {
                let value = limb.value(b);
                Self::Value(b.ins().ishl_imm_s(value, i64::from(amount)))
            }
        }
    }

    /// Shifted right by less than 64, zeros coming in.
    pub(crate) fn shr(self, amount: u32, b: &mut FunctionBuilder<'_>) -> Self {
        match self {
            limb if amount == 0 => limb,
            Self::Const(x) => Self::Const(x >> amount),
            Self::Flag(_) => Self::ZERO,
            Self::Value(value) => Self::Value(b.ins().ushr_imm_s(value, i64::from(amount))),
        }
    }

    /// Shifted right by less than 64, copies of the sign coming in.
    pub(crate) fn sar(self, amount: u32, b: &mut FunctionBuilder<'_>) -> Self {
        match self {
            limb if amount == 0 => limb,
            Self::Const(x) => Self::Const(((x as i64) >> amount) as u64),
            Self::Flag(_) => Self::ZERO,
            Self::Value(value) => Self::Value(b.ins().sshr_imm_s(value, i64::from(amount))),
        }
    }
}

impl Word {
    pub(crate) fn constant(word: U256) -> Self {
        Self { limbs: word.as_limbs().map(Limb::Const), bits: word.bit_len() as u16 }
    }

    /// A comparison's result.
    pub(crate) fn flag(flag: ir::Value) -> Self {
        Self { limbs: [Limb::Flag(flag), Limb::ZERO, Limb::ZERO, Limb::ZERO], bits: 1 }
    }

    pub(crate) fn bool(value: bool) -> Self {
        Self::constant(U256::from(value))
    }

    /// A word of one limb.
    pub(crate) fn narrow(value: ir::Value, bits: u16) -> Self {
        Self { limbs: [Limb::Value(value), Limb::ZERO, Limb::ZERO, Limb::ZERO], bits }
    }

    /// A word of any limbs; limbs beyond `bits` become the constant zero.
    pub(crate) fn new(mut limbs: [Limb; 4], bits: u16) -> Self {
        for (index, limb) in limbs.iter_mut().enumerate() {
            if index as u16 * 64 >= bits {
                *limb = Limb::ZERO;
            }
        }
        Self { limbs, bits: bits.min(256) }
    }

    /// The constant that the word is, if all its limbs are known.
    pub(crate) fn as_const(&self) -> Option<U256> {
        let mut limbs = [0; 4];
        for (slot, limb) in limbs.iter_mut().zip(self.limbs) {
            match limb {
                Limb::Const(bits) => *slot = bits,
                _ => return None,
            }
        }
        Some(U256::from_limbs(limbs))
    }

    /// Whether the word fits one limb.
    pub(crate) fn is_narrow(&self) -> bool {
        self.bits <= 64
    }

    /// The union of the upper three limbs: zero if the word fits 64 bits.
    pub(crate) fn high_union(&self, b: &mut FunctionBuilder<'_>) -> Limb {
        let [_, l1, l2, l3] = self.limbs;
        l1.or(l2, b).or(l3, b)
    }

    /// A value that is zero exactly if the word is: for `brif` and comparisons with zero.
    pub(crate) fn union(&self, b: &mut FunctionBuilder<'_>) -> Limb {
        let high = self.high_union(b);
        self.limbs[0].or(high, b)
    }

    /// Limbs 0 and 1 as an `i128`.
    pub(crate) fn low128(&self, b: &mut FunctionBuilder<'_>) -> ir::Value {
        concat(self.limbs[0], self.limbs[1], b)
    }

    /// Limbs 2 and 3 as an `i128`.
    pub(crate) fn high128(&self, b: &mut FunctionBuilder<'_>) -> ir::Value {
        concat(self.limbs[2], self.limbs[3], b)
    }
}

fn concat(low: Limb, high: Limb, b: &mut FunctionBuilder<'_>) -> ir::Value {
    let low = low.value(b);
    if high.is_zero() {
        return b.ins().uextend(types::I128, low);
    }
    let high = high.value(b);
    b.ins().iconcat(low, high)
}

/// The two limbs of an `i128`.
pub(crate) fn split(value: ir::Value, b: &mut FunctionBuilder<'_>) -> [Limb; 2] {
    let (low, high) = b.ins().isplit(value);
    [Limb::Value(low), Limb::Value(high)]
}

/// The flag of a limb being zero or not.
pub(crate) fn compare_zero(cc: IntCC, limb: Limb, b: &mut FunctionBuilder<'_>) -> Limb {
    match limb {
        Limb::Const(bits) => Limb::Const(u64::from((bits == 0) == (cc == IntCC::Equal))),
        Limb::Flag(flag) if cc == IntCC::NotEqual => Limb::Flag(flag),
        Limb::Flag(flag) => Limb::Flag(negate(flag, b)),
        Limb::Value(value) => Limb::Flag(b.ins().icmp_imm_s(cc, value, 0)),
    }
}

/// The opposite of a flag: the inverse comparison where the flag is one, which costs no instruction
/// once the original is unused.
fn negate(flag: ir::Value, b: &mut FunctionBuilder<'_>) -> ir::Value {
    let dfg = &b.func.dfg;
    if let ir::ValueDef::Result(inst, 0) = dfg.value_def(flag)
        && let ir::InstructionData::IntCompare { cond, args: [x, y], .. } = dfg.insts[inst]
    {
        return b.ins().icmp(cond.complement(), x, y);
    }
    b.ins().bxor_imm_s(flag, 1)
}
