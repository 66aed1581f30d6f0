//! The closed list of stencils: what each does, and where it finds the stack's top word.
//!
//! The list is fixed, so bytecode can't make it longer. What a contract compiles to is decided by
//! its bytes and this list.

use cranevm_passes::ir::{implementation::Implementation, opcode::Opcode};
use revm_primitives::U256;

/// Where the stack's top word is between two stencils.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Top {
    /// On the stack, as all words below it.
    Memory,
    /// In a register, below 2^64. The stack pointer is at its slot, which isn't written.
    Narrow,
    /// In four registers, likewise.
    Wide,
}

impl Top {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Narrow, Self::Wide];

    /// Registers that hold the word.
    pub(super) const fn limbs(self) -> usize {
        match self {
            Self::Memory => 0,
            Self::Narrow => 1,
            Self::Wide => 4,
        }
    }
}

/// What a stencil does. Numbers that a stencil is made for are parts of it; those that are put into
/// its copies are *holes*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// Takes the top word into registers.
    Load,
    /// Writes the top word to its slot.
    Store,
    /// Writes the top word to its slot and pushes a copy that stays in registers: DUP1.
    Keep,
    /// Pushes the word at a depth, from 1.
    Dup(u8),
    /// Pushes the word at as many bytes below the top as the top says, in its place: DUPN.
    DupDeep,
    /// Exchanges the top word with the one at a depth, from 1.
    Swap(u8),
    /// Puts the top word in the place of the one at a depth, from 1: SWAPn and POP.
    Replace(u8),
    /// Takes the top for two distances in bytes, and exchanges the words so far below.
    Exchange,
    /// Drops so many words.
    Drop(u8),
    /// Pushes zero.
    Zero,
    /// Pushes a word below 2^31, which is a hole.
    Small,
    /// Pushes a word of so many limbs, which are holes.
    Limbs(u8),
    /// The opcode, all operands from the stack.
    Opcode(Opcode),
    /// The opcode, its first operand a hole below 2^31.
    WithSmall(Opcode),
    /// The opcode, its first operand a hole below 2^64.
    WithLimb(Opcode),
    /// The opcode, its first operand the constant at an index of [`EXACT`].
    WithExact(u8),
    /// JUMPI to a label, the top its condition.
    Branch {
        /// Whether it jumps if the condition is zero.
        if_zero: bool,
    },
    /// JUMP to the top: leaves the address of the code there as the top, to be jumped to. The
    /// length of the bytecode is a hole, which is the same in all of a contract.
    FindTarget,
    /// JUMPI to the top, by the word below: the same, or zero if it isn't to be jumped.
    FindTargetIf,
    /// Takes a hole from the gas, or ends the frame.
    Pay(Size),
    /// Takes a hole from the gas, which may get below zero.
    Charge(Size),
    /// Hands over unless the stack has so many bytes, a hole, and so many more at most, a hole.
    CheckStack,
    /// The same by the top, which is dropped: the least and the most words, of 16 bits each, and
    /// the pc where to hand over. Shorter than the others, and slower.
    CheckHere,
    /// Hands over unless the stack has so many bytes at least, a hole.
    CheckDepth,
    /// Hands over unless the stack has so many bytes at most, a hole.
    CheckRoom,
    /// Counts a block, and hands over if none is left.
    CountBlock,
    /// Checks what compiled code takes for granted, with the pc and the length of the code, holes.
    Assert,
    /// Leaves the frame: never copied between others.
    Leave(Leave),
}

/// How large a hole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Size {
    /// Below 2^7.
    Byte,
    /// Below 2^31.
    Word,
}

impl Size {
    pub(super) const fn of(value: u64) -> Self {
        if value < 1 << 7 { Self::Byte } else { Self::Word }
    }
}

/// How a frame leaves compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Leave {
    /// With the status that a builtin returned, which is the top word.
    Status,
    /// Out of gas.
    OutOfGas,
    /// By a jump that leads nowhere.
    InvalidJump,
    /// To the interpreter, at the pc that is the top word.
    HandOver,
    /// The same, for what is there isn't compiled.
    Absent,
    /// By STOP, behind which the pc is that is the top word.
    Stop,
}

impl Leave {
    pub(super) const ALL: [Self; 6] =
        [Self::Status, Self::OutOfGas, Self::InvalidJump, Self::HandOver, Self::Absent, Self::Stop];

    /// What it takes in registers.
    pub(super) const fn top(self) -> Top {
        match self {
            Self::Status | Self::HandOver | Self::Absent | Self::Stop => Top::Narrow,
            Self::OutOfGas | Self::InvalidJump => Top::Memory,
        }
    }
}

/// A stencil of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) action: Action,
    pub(super) top: Top,
}

/// A constant that has a stencil of its own with an opcode whose first operand it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact {
    pub(super) opcode: Opcode,
    pub(super) constant: U256,
}

const fn amount(opcode: Opcode, amount: u64) -> Exact {
    Exact { opcode, constant: U256::from_limbs([amount, 0, 0, 0]) }
}

const fn mask(limbs: [u64; 4]) -> Exact {
    Exact { opcode: Opcode::AND, constant: U256::from_limbs(limbs) }
}

/// First operands that are frequent in contracts, and make an opcode short.
pub(super) const EXACT: &[Exact] = &[
    mask([u64::MAX, u64::MAX, 0xffff_ffff, 0]),
    mask([u64::MAX, 0, 0, 0]),
    mask([u64::MAX, u64::MAX, 0, 0]),
    mask([!31, u64::MAX, u64::MAX, u64::MAX]),
    amount(Opcode::SHL, 0x01),
    amount(Opcode::SHL, 0x05),
    amount(Opcode::SHL, 0x08),
    amount(Opcode::SHL, 0x40),
    amount(Opcode::SHL, 0x60),
    amount(Opcode::SHL, 0x80),
    amount(Opcode::SHL, 0xa0),
    amount(Opcode::SHL, 0xc0),
    amount(Opcode::SHL, 0xe0),
    amount(Opcode::SHL, 0xf8),
    amount(Opcode::SHR, 0x01),
    amount(Opcode::SHR, 0x05),
    amount(Opcode::SHR, 0x08),
    amount(Opcode::SHR, 0x60),
    amount(Opcode::SHR, 0x80),
    amount(Opcode::SHR, 0xa0),
    amount(Opcode::SHR, 0xc0),
    amount(Opcode::SHR, 0xe0),
    amount(Opcode::SHR, 0xf8),
    amount(Opcode::BYTE, 0x00),
    amount(Opcode::SIGNEXTEND, 0x00),
    amount(Opcode::SIGNEXTEND, 0x02),
    amount(Opcode::SIGNEXTEND, 0x0f),
];

/// Opcodes with a stencil whose first operand is a hole below 2^31.
pub(super) const WITH_SMALL: [Opcode; 7] =
    [Opcode::ADD, Opcode::MUL, Opcode::SUB, Opcode::LT, Opcode::GT, Opcode::EQ, Opcode::AND];

/// Opcodes with a stencil whose first operand is a hole below 2^64.
pub(super) const WITH_LIMB: [Opcode; 1] = [Opcode::EQ];

/// Deepest word that has a stencil of its own.
pub(super) const DEPTHS: u8 = 16;
/// Most words dropped by one stencil.
pub(super) const DROPS: u8 = 8;

/// Deepest word that the top takes the place of at once.
pub(super) const REPLACED: u8 = 8;

/// Where an opcode's stencils find the top word: those that call a builtin with words want all in
/// memory, those that end a block and say where it goes on have that in a register.
pub(super) fn tops_of(opcode: Opcode) -> &'static [Top] {
    match opcode.implementation() {
        Implementation::Native if opcode.info().is_some_and(|info| info.inputs > 0) => &Top::ALL,
        Implementation::Memory => &Top::ALL,
        Implementation::Native
        | Implementation::Words
        | Implementation::Charged
        | Implementation::Delegated => &[Top::Memory],
        Implementation::Exit | Implementation::Suspend => &[Top::Narrow],
        Implementation::Stack
        | Implementation::Jump
        | Implementation::Branch
        | Implementation::Stop
        | Implementation::HandOver => &[],
    }
}

/// All stencils.
pub(super) fn keys() -> impl Iterator<Item = Key> {
    let with =
        |action: Action, tops: &'static [Top]| tops.iter().map(move |&top| Key { action, top });
    let moves = [
        with(Action::Load, &[Top::Memory]),
        with(Action::Store, &[Top::Narrow, Top::Wide]),
        with(Action::Keep, &[Top::Narrow, Top::Wide]),
        with(Action::DupDeep, &[Top::Narrow]),
        with(Action::Exchange, &[Top::Narrow]),
        with(Action::Zero, &[Top::Memory]),
        with(Action::Small, &[Top::Memory]),
        with(Action::Branch { if_zero: false }, &[Top::Narrow, Top::Wide]),
        with(Action::Branch { if_zero: true }, &[Top::Narrow, Top::Wide]),
        with(Action::FindTarget, &Top::ALL),
        with(Action::FindTargetIf, &Top::ALL),
        with(Action::CheckHere, &[Top::Narrow]),
        with(Action::Pay(Size::Byte), &[Top::Memory]),
        with(Action::Pay(Size::Word), &[Top::Memory]),
        with(Action::Charge(Size::Byte), &[Top::Wide]),
        with(Action::Charge(Size::Word), &[Top::Wide]),
        with(Action::CheckStack, &[Top::Memory]),
        with(Action::CheckDepth, &[Top::Memory]),
        with(Action::CheckRoom, &[Top::Memory]),
        with(Action::CountBlock, &[Top::Memory]),
        with(Action::Assert, &[Top::Memory]),
    ];
    let depths = (1..=DEPTHS).flat_map(move |depth| {
        with(Action::Dup(depth), &[Top::Memory])
            .chain(with(Action::Swap(depth), &[Top::Narrow, Top::Wide]))
    });
    let replaced = (1..=REPLACED)
        .flat_map(move |depth| with(Action::Replace(depth), &[Top::Narrow, Top::Wide]));
    let drops = (1..=DROPS).flat_map(move |words| with(Action::Drop(words), &[Top::Memory]));
    let limbs = (1..=4).flat_map(move |limbs| with(Action::Limbs(limbs), &[Top::Memory]));
    let opcodes = (0..=u8::MAX)
        .map(Opcode::new)
        .flat_map(move |opcode| with(Action::Opcode(opcode), tops_of(opcode)));
    let smalls =
        WITH_SMALL.iter().flat_map(move |&opcode| with(Action::WithSmall(opcode), &Top::ALL));
    let large = WITH_LIMB.iter().flat_map(move |&opcode| with(Action::WithLimb(opcode), &Top::ALL));
    let exact = (0..EXACT.len() as u8).flat_map(move |at| with(Action::WithExact(at), &Top::ALL));
    let leaves =
        Leave::ALL.into_iter().map(|leave| Key { action: Action::Leave(leave), top: leave.top() });
    moves
        .into_iter()
        .flatten()
        .chain(depths)
        .chain(replaced)
        .chain(drops)
        .chain(limbs)
        .chain(opcodes)
        .chain(smalls)
        .chain(large)
        .chain(exact)
        .chain(leaves)
}
