//! The set of all stencils for one machine, found by number.

use super::{
    key::{Action, EXACT, Key, Leave, Size, Top, keys},
    machine::Machine,
    make::Maker,
    stencil::{Stencil, StencilError},
};
use cranelift_codegen::isa::TargetIsa;
use cranevm_passes::ir::opcode::Opcode;
use revm_primitives::U256;

/// What keys are numbered by: one after the other the actions without a parameter, and those with.
const PLAIN: usize = 28;
const DUPS: usize = PLAIN;
const SWAPS: usize = DUPS + 32;
const REPLACED: usize = SWAPS + 32;
const DROPS: usize = REPLACED + 16;
const LIMBS: usize = DROPS + 16;
const OPCODES: usize = LIMBS + 8;
const SMALLS: usize = OPCODES + 256;
const LIMB: usize = SMALLS + 256;
const EXACTS: usize = LIMB + 256;
const SLOTS: usize = EXACTS + EXACT.len();

/// Where a key is among all that there could be.
fn slot(key: Key) -> usize {
    let size = |size| usize::from(size == Size::Word);
    let action = match key.action {
        Action::Load => 0,
        Action::Store => 1,
        Action::Keep => 2,
        Action::DupDeep => 4,
        Action::Exchange => 5,
        Action::Zero => 6,
        Action::Small => 7,
        Action::Branch { if_zero } => 8 + usize::from(if_zero),
        Action::FindTarget => 10,
        Action::FindTargetIf => 11,
        Action::Pay(of) => 12 + size(of),
        Action::Charge(of) => 14 + size(of),
        Action::CheckStack => 16,
        Action::CheckDepth => 17,
        Action::CheckRoom => 18,
        Action::CountBlock => 19,
        Action::Assert => 20,
        Action::CheckHere => 21,
        Action::Leave(leave) => 22 + leave as usize,
        Action::Dup(depth) => DUPS + usize::from(depth),
        Action::Swap(depth) => SWAPS + usize::from(depth),
        Action::Replace(depth) => REPLACED + usize::from(depth),
        Action::Drop(words) => DROPS + usize::from(words),
        Action::Limbs(limbs) => LIMBS + usize::from(limbs),
        Action::Opcode(opcode) => OPCODES + usize::from(opcode.get()),
        Action::WithSmall(opcode) => SMALLS + usize::from(opcode.get()),
        Action::WithLimb(opcode) => LIMB + usize::from(opcode.get()),
        Action::WithExact(at) => EXACTS + usize::from(at),
    };
    action * Top::ALL.len() + key.top as usize
}

/// The number of a stencil in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(u16);

impl Number {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All stencils for one machine.
pub(crate) struct StencilSet {
    pub(super) machine: Machine,
    stencils: Vec<Stencil>,
    /// By slot: the number, and one more.
    numbers: Vec<u16>,
    /// By opcode: which constants of [`EXACT`] are with it.
    exact: Vec<(u8, u8)>,
}

impl StencilSet {
    /// Makes all stencils: those that leave the frame by `frames`.
    ///
    /// # Errors
    /// If Cranelift's code for one of them isn't of the shape that stencils have.
    pub(crate) fn make(
        isa: &dyn TargetIsa,
        frames: &dyn TargetIsa,
        machine: Machine,
    ) -> Result<Self, StencilError> {
        let (mut maker, mut leaving) = (Maker::new(isa, machine), Maker::new(frames, machine));
        let mut numbers = vec![0; SLOTS * Top::ALL.len()];
        let mut stencils = Vec::new();
        for key in keys() {
            let maker =
                if matches!(key.action, Action::Leave(_)) { &mut leaving } else { &mut maker };
            stencils.push(maker.make(key)?);
            numbers[slot(key)] = stencils.len() as u16;
        }
        let exact = (0..=u8::MAX).map(|byte| {
            let is_of = |exact: &super::key::Exact| exact.opcode == Opcode::new(byte);
            let begin = EXACT.iter().position(is_of).unwrap_or(0);
            let len = EXACT[begin..].iter().take_while(|exact| is_of(exact)).count();
            (begin as u8, (begin + len) as u8)
        });
        Ok(Self { machine, stencils, numbers, exact: exact.collect() })
    }

    /// The stencil of a key, if it is in the list.
    pub(super) fn find(&self, action: Action, top: Top) -> Option<Number> {
        let number = self.numbers[slot(Key { action, top })];
        number.checked_sub(1).map(Number)
    }

    pub(super) fn stencil(&self, number: Number) -> &Stencil {
        &self.stencils[number.index()]
    }

    /// The way out of the frame.
    pub(super) fn leave(&self, leave: Leave) -> Option<Number> {
        self.find(Action::Leave(leave), leave.top())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.stencils.len()
    }

    /// Bytes of code in all.
    #[cfg(test)]
    pub(super) fn code_bytes(&self) -> usize {
        self.stencils.iter().map(|stencil| stencil.code.len()).sum()
    }

    /// The stencil of an opcode whose first operand is this constant, if that has one of its own.
    pub(super) fn find_exact(&self, opcode: Opcode, constant: U256, top: Top) -> Option<Number> {
        let (begin, end) = self.exact[usize::from(opcode.get())];
        let at = (begin..end).find(|&at| EXACT[usize::from(at)].constant == constant)?;
        self.find(Action::WithExact(at), top)
    }
}
