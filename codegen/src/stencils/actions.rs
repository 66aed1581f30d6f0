//! What each stencil does, in Cranelift's IR: moves of words, branches, heads of blocks, ways out.
//! Opcodes are in [`opcodes`](super::opcodes).

use super::{
    key::{Action, Key, Leave, Top},
    opcodes,
    writer::{Symbol, WORD, Writer},
};
use crate::{
    abi::{STATUS_ABSENT_BLOCK, STATUS_HAND_OVER, offsets},
    builtins::Builtin,
    words::{Limb, Surroundings, Word},
};
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, condcodes::IntCC, types};
use revm_interpreter::InstructionResult;

/// Writes the stencil of a key.
pub(super) fn write(key: Key, w: &mut Writer<'_>) {
    match key.action {
        Action::Load
        | Action::Store
        | Action::Keep
        | Action::Dup(_)
        | Action::DupDeep
        | Action::Swap(_)
        | Action::Replace(_)
        | Action::Exchange
        | Action::Drop(_) => move_words(key.action, w),
        Action::Zero => w.next_with(w.stack, &Word::constant(Default::default())),
        Action::Small => {
            let word = Word::narrow(w.word_hole(0), 31);
            w.next_with(w.stack, &word);
        }
        Action::Limbs(limbs) => push_limbs(limbs, w),
        Action::Opcode(opcode) => opcodes::write(opcode, w),
        Action::WithSmall(opcode) => {
            let first = Word::narrow(w.word_hole(0), 31);
            opcodes::write_with(opcode, first, w);
        }
        Action::WithLimb(opcode) => {
            let first = Word::narrow(w.limb_hole(0), 64);
            opcodes::write_with(opcode, first, w);
        }
        Action::WithExact(at) => opcodes::write_exact(at, w),
        Action::Branch { if_zero } => branch(if_zero, w),
        Action::FindTarget => find_target(w, 1),
        Action::FindTargetIf => find_target_if(w),
        Action::Pay(size) => {
            let left = take_gas(size, w);
            w.gas = left;
            let short = w.b.ins().icmp_imm_s(IntCC::SignedLessThan, left, 0);
            let (out, go_on) = w.unlikely(short);
            w.b.switch_to_block(out);
            w.leave(Leave::OutOfGas);
            w.b.switch_to_block(go_on);
            w.next(w.stack);
        }
        Action::Charge(size) => {
            w.gas = take_gas(size, w);
            let word = w.word(0);
            w.next_as(Top::Wide, w.stack, &word);
        }
        Action::CheckStack | Action::CheckDepth | Action::CheckRoom => check(key.action, w),
        Action::CheckHere => check_here(w),
        Action::CountBlock => {
            let budget = w.load_context(offsets::BLOCK_BUDGET);
            let left = w.b.ins().iadd_imm_s(budget, -1);
            w.store_context(left, offsets::BLOCK_BUDGET);
            let is_over = w.b.ins().icmp_imm_s(IntCC::SignedLessThan, left, 0);
            w.refuse_if(is_over);
            w.next(w.stack);
        }
        Action::Assert => assert_invariants(w),
        Action::Leave(leave) => self::leave(leave, w),
    }
}

fn move_words(action: Action, w: &mut Writer<'_>) {
    match action {
        Action::Load => {
            let (word, stack) = (w.word(0), w.popped(1));
            w.next_as(Top::Wide, stack, &word);
        }
        Action::Store => {
            let word = w.word(0);
            w.store_at(&word, w.stack, 0);
            let stack = w.moved(1);
            w.next(stack);
        }
        Action::Keep => {
            let word = w.word(0);
            w.store_at(&word, w.stack, 0);
            let stack = w.moved(1);
            w.next_with(stack, &word);
        }
        Action::Dup(depth) => {
            let word = w.load_at(w.stack, -WORD * i32::from(depth));
            w.next_as(Top::Wide, w.stack, &word);
        }
        Action::DupDeep => {
            let distance = w.low();
            let from = w.b.ins().isub(w.stack, distance);
            let word = w.load_at(from, 0);
            w.next_as(Top::Wide, w.stack, &word);
        }
        Action::Swap(depth) => {
            let at = -WORD * i32::from(depth);
            let other = w.exchange_top(at);
            w.next_as(Top::Wide, w.stack, &other);
        }
        Action::Replace(depth) => {
            let word = w.word(0);
            w.store_at(&word, w.stack, -WORD * i32::from(depth));
            w.next(w.stack);
        }
        Action::Exchange => exchange(w),
        Action::Drop(words) => {
            let stack = w.popped(words.into());
            w.next(stack);
        }
        _ => unreachable!("{action:?} moves no words"),
    }
}

/// The distances are the halves of the top's lower 32 bits. Limb by limb, so that all is in
/// registers.
fn exchange(w: &mut Writer<'_>) {
    let low = w.low();
    let first = w.b.ins().band_imm_u(low, 0xffff);
    let second = w.b.ins().ushr_imm_s(low, 16);
    let places = [first, second].map(|distance| w.b.ins().isub(w.stack, distance));
    let flags = MemFlagsData::trusted();
    for at in (0..WORD).step_by(8) {
        let [first, second] = places.map(|place| w.b.ins().load(types::I64, flags, place, at));
        w.b.ins().store(flags, second, places[0], at);
        w.b.ins().store(flags, first, places[1], at);
    }
    w.next(w.stack);
}

fn push_limbs(limbs: u8, w: &mut Writer<'_>) {
    let mut word = Word::constant(Default::default());
    for index in 0..limbs {
        word.limbs[usize::from(index)] = Limb::Value(w.limb_hole(index));
    }
    word.bits = u16::from(limbs) * 64;
    w.next_with(w.stack, &word);
}

fn branch(if_zero: bool, w: &mut Writer<'_>) {
    let (condition, stack) = (w.word(0), w.popped(1));
    let condition = nonzero_if_true(&condition, w);
    let [taken, go_on] = [(); 2].map(|()| w.b.create_block());
    // So that going on comes last, and is no jump.
    w.b.set_cold_block(taken);
    let (yes, no) = if if_zero { (go_on, taken) } else { (taken, go_on) };
    w.b.ins().brif(condition, yes, &[], no, &[]);
    w.b.switch_to_block(taken);
    w.exit(Symbol::Taken, Top::Memory, stack, w.gas, &[]);
    w.b.switch_to_block(go_on);
    w.next(stack);
}

/// A value that is zero exactly if a word is.
fn nonzero_if_true(word: &Word, w: &mut Writer<'_>) -> ir::Value {
    match word.union(&mut w.b) {
        Limb::Flag(flag) => flag,
        limb => limb.value(&mut w.b),
    }
}

fn find_target_if(w: &mut Writer<'_>) {
    let (condition, stack) = (w.word(1), w.popped(2));
    let condition = nonzero_if_true(&condition, w);
    let [jumps, go_on] = [(); 2].map(|()| w.b.create_block());
    w.b.ins().brif(condition, jumps, &[], go_on, &[]);
    w.b.switch_to_block(go_on);
    w.next_as(Top::Narrow, stack, &Word::constant(Default::default()));
    w.b.switch_to_block(jumps);
    find_target(w, 2);
}

/// The address of the code at a pc: by the index of entry points and their table, as the optimising
/// tier finds it. So many words are popped.
fn find_target(w: &mut Writer<'_>, words: i32) {
    let (target, stack) = (w.word(0), w.popped(words));
    let low = target.limbs[0].value(&mut w.b);
    let nowhere = w.b.create_block();
    w.b.set_cold_block(nowhere);
    let require = |w: &mut Writer<'_>, failure: ir::Value| {
        let go_on = w.b.create_block();
        w.b.ins().brif(failure, nowhere, &[], go_on, &[]);
        w.b.switch_to_block(go_on);
    };
    let high = target.high_union(&mut w.b);
    if !high.is_zero() {
        let high = high.value(&mut w.b);
        require(w, high);
    }
    let len = w.word_hole(0);
    let is_beyond = w.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, low, len);
    require(w, is_beyond);
    let granules = w.load_context(offsets::GRANULES);
    let around = Surroundings::of(low, granules, &mut w.b);
    let is_jumpdest = around.is_jumpdest(&mut w.b);
    let is_none = w.b.ins().icmp_imm_s(IntCC::Equal, is_jumpdest, 0);
    require(w, is_none);
    let is_entry = around.is_entry(&mut w.b);
    let [absent, present] = [(); 2].map(|()| w.b.create_block());
    w.b.set_cold_block(absent);
    w.b.ins().brif(is_entry, present, &[], absent, &[]);
    w.b.switch_to_block(absent);
    w.exit(Symbol::Leave(Leave::Absent), Top::Narrow, stack, w.gas, &[low]);
    w.b.switch_to_block(present);
    // Entry points are numbered in order of pc.
    let ordinal = around.rank(&mut w.b);
    let table = w.load_context(offsets::ENTRY_TABLE);
    let offset = w.b.ins().ishl_imm_s(ordinal, 3);
    let slot = w.b.ins().iadd(table, offset);
    let address = w.b.ins().load(types::I64, MemFlagsData::trusted(), slot, 0);
    w.exit(Symbol::Next, Top::Narrow, stack, w.gas, &[address]);
    w.b.switch_to_block(nowhere);
    w.leave(Leave::InvalidJump);
}

fn take_gas(size: super::key::Size, w: &mut Writer<'_>) -> ir::Value {
    let price = match size {
        super::key::Size::Byte => w.byte_hole(),
        super::key::Size::Word => w.word_hole(0),
    };
    w.b.ins().isub(w.gas, price)
}

/// Bounds of the stack's height in bytes.
fn check(action: Action, w: &mut Writer<'_>) {
    let base = w.load_context(offsets::STACK_BASE);
    let height = w.b.ins().isub(w.stack, base);
    let bound = w.word_hole(0);
    let outside = match action {
        Action::CheckDepth => w.b.ins().icmp(IntCC::UnsignedLessThan, height, bound),
        Action::CheckRoom => w.b.ins().icmp(IntCC::UnsignedGreaterThan, height, bound),
        _ => {
            let above = w.b.ins().isub(height, bound);
            let room = w.word_hole(1);
            w.b.ins().icmp(IntCC::UnsignedGreaterThan, above, room)
        }
    };
    w.refuse_if(outside);
    w.next(w.stack);
}

fn check_here(w: &mut Writer<'_>) {
    let packed = w.low();
    let base = w.load_context(offsets::STACK_BASE);
    let height = w.b.ins().isub(w.stack, base);
    let height = w.b.ins().ushr_imm_s(height, 5);
    let least = w.b.ins().band_imm_u(packed, 0xffff);
    let most = w.b.ins().ushr_imm_s(packed, 16);
    let most = w.b.ins().band_imm_u(most, 0xffff);
    let too_low = w.b.ins().icmp(IntCC::UnsignedLessThan, height, least);
    let too_high = w.b.ins().icmp(IntCC::UnsignedGreaterThan, height, most);
    let outside = w.b.ins().bor(too_low, too_high);
    let (refuse, go_on) = w.unlikely(outside);
    w.b.switch_to_block(refuse);
    let (pc, stack, gas) = (w.b.ins().ushr_imm_s(packed, 32), w.stack, w.gas);
    w.exit(Symbol::Leave(Leave::HandOver), Top::Narrow, stack, gas, &[pc]);
    w.b.switch_to_block(go_on);
    w.next(w.stack);
}

/// With the pc and the length of the code.
fn assert_invariants(w: &mut Writer<'_>) {
    w.save();
    let (pc, len) = (w.word_hole(0), w.word_hole(1));
    let len = w.b.ins().ishl_imm_s(len, 32);
    let place = w.b.ins().bor(pc, len);
    let memory = w.b.ins().iconst(types::I64, 0);
    let args = [w.context(), w.stack, w.gas, place, memory];
    let results = w.call(Builtin::CheckInvariants, &args);
    w.restore();
    w.check_status(results[0]);
    w.next(w.stack);
}

fn leave(leave: Leave, w: &mut Writer<'_>) {
    let status = match leave {
        // Gas is where the builtin left it.
        Leave::Status => {
            let status = w.low();
            w.b.ins().return_(&[status]);
            return;
        }
        Leave::OutOfGas => InstructionResult::OutOfGas as u64,
        Leave::InvalidJump => InstructionResult::InvalidJump as u64,
        Leave::HandOver => STATUS_HAND_OVER,
        Leave::Absent => STATUS_ABSENT_BLOCK,
        Leave::Stop => InstructionResult::Stop as u64,
    };
    w.save();
    if leave.top() == Top::Narrow {
        let pc = w.low();
        w.store_context(pc, offsets::PC);
    }
    let status = w.b.ins().iconst(types::I64, status.cast_signed());
    w.b.ins().return_(&[status]);
}
