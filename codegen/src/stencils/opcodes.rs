//! Stencils of opcodes: by the functions from words to words that both tiers share, or by builtins.
//!
//! No stencil keeps anything in registers over a call: the stack pointer and the gas are in the
//! context then, and a top word in its slot.

use super::{
    key::{EXACT, Top},
    writer::Writer,
};
use crate::{
    abi::offsets,
    builtins::Builtin,
    words::{
        Computation, Limb, Word, address, and, call_value, computation, load_big_endian,
        store_big_endian,
    },
};
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, condcodes::IntCC, types};
use cranevm_passes::ir::{implementation::Implementation, opcode::Opcode};

/// Writes the stencil of an opcode with all operands on the stack.
pub(super) fn write(opcode: Opcode, w: &mut Writer<'_>) {
    match opcode.implementation() {
        Implementation::Native => native(opcode, w),
        Implementation::Words => call_words(opcode, w),
        Implementation::Memory => access_memory(opcode, w),
        Implementation::Charged => call_charged(opcode, Builtin::of(opcode), w),
        Implementation::Delegated => call_charged(opcode, Builtin::Delegate, w),
        Implementation::Exit | Implementation::Suspend => call_last(opcode, w),
        other => unreachable!("{opcode} has no stencil: {other}"),
    }
}

/// Writes the stencil of an opcode whose first operand is this word, in place of one on the stack.
pub(super) fn write_with(opcode: Opcode, first: Word, w: &mut Writer<'_>) {
    let (second, stack) = (w.word(0), w.popped(1));
    let word = match computation(opcode) {
        Some(Computation::Binary(op)) => op(first, second, &mut w.b),
        _ => unreachable!("{opcode} has no stencil with a number"),
    };
    w.next_with(stack, &word);
}

/// Writes the stencil of an opcode whose first operand is a constant of [`EXACT`].
pub(super) fn write_exact(at: u8, w: &mut Writer<'_>) {
    let exact = EXACT[usize::from(at)];
    let (second, stack) = (w.word(0), w.popped(1));
    let word = match computation(exact.opcode) {
        Some(Computation::ByConstant(op)) => op(exact.constant, second, &mut w.b),
        _ => and(Word::constant(exact.constant), second, &mut w.b),
    };
    w.next_with(stack, &word);
}

fn native(opcode: Opcode, w: &mut Writer<'_>) {
    match computation(opcode) {
        Some(Computation::Unary(op)) => {
            let (word, stack) = (w.word(0), w.popped(1));
            let word = op(word, &mut w.b);
            w.next_with(stack, &word);
        }
        Some(Computation::Binary(op)) => {
            let (first, second, stack) = (w.word(0), w.word(1), w.popped(2));
            let word = op(first, second, &mut w.b);
            w.next_with(stack, &word);
        }
        _ if opcode == Opcode::CALLDATALOAD => calldataload(w),
        _ => environment(opcode, w),
    }
}

fn environment(opcode: Opcode, w: &mut Writer<'_>) {
    let word = match opcode {
        Opcode::MSIZE => Word::narrow(w.load_context(offsets::MEMORY_LEN), 64),
        Opcode::CALLDATASIZE => Word::narrow(w.load_context(offsets::CALLDATA_LEN), 64),
        Opcode::RETURNDATASIZE => Word::narrow(w.load_context(offsets::RETURN_DATA_LEN), 64),
        // Exact here: nothing is charged ahead of an opcode that asks.
        Opcode::GAS => Word::narrow(w.gas, 64),
        Opcode::ADDRESS => {
            let input = w.load_context(offsets::INPUT);
            address(input, offsets::INPUT_TARGET, &mut w.b)
        }
        Opcode::CALLER => {
            let input = w.load_context(offsets::INPUT);
            address(input, offsets::INPUT_CALLER, &mut w.b)
        }
        Opcode::CALLVALUE => {
            let input = w.load_context(offsets::INPUT);
            call_value(input, &mut w.b)
        }
        _ => unreachable!("{opcode} isn't read from the frame"),
    };
    w.next_with(w.stack, &word);
}

/// Goes on behind an opcode that took its operands from the stack and left its result there.
fn next_behind(opcode: Opcode, w: &mut Writer<'_>) {
    let info = opcode.info();
    let words = info.map_or(0, |info| i32::from(info.outputs) - i32::from(info.inputs));
    let stack = w.moved(words);
    w.next(stack);
}

fn call_words(opcode: Opcode, w: &mut Writer<'_>) {
    w.save();
    w.call(Builtin::of(opcode), &[w.stack]);
    w.restore();
    next_behind(opcode, w);
}

/// Calls what may charge and fail. Nothing is charged ahead.
fn call_charged(opcode: Opcode, builtin: Builtin, w: &mut Writer<'_>) {
    let ahead = w.b.ins().iconst(types::I64, 0);
    call_delegate(opcode, builtin, ahead, w);
}

/// Calls what ends or suspends the frame. The top is the pc where that resumes.
fn call_last(opcode: Opcode, w: &mut Writer<'_>) {
    let next_pc = w.low();
    call_delegate(opcode, Builtin::DelegateLast, next_pc, w);
}

fn call_delegate(opcode: Opcode, builtin: Builtin, last: ir::Value, w: &mut Writer<'_>) {
    w.save();
    let number = w.b.ins().iconst(types::I64, i64::from(opcode.get()));
    let args = [w.context(), w.stack, number, last];
    let results = w.call(builtin, &args);
    w.restore();
    w.check_status(results[0]);
    next_behind(opcode, w);
}

/// MLOAD, MSTORE, MSTORE8.
fn access_memory(opcode: Opcode, w: &mut Writer<'_>) {
    let offset = w.word(0);
    let (limit, builtin) = match opcode {
        Opcode::MSTORE8 => (offsets::MEMORY_LEN, Builtin::GrowByte),
        _ => (offsets::MEMORY_WORDS_END, Builtin::GrowWord),
    };
    let low = offset.limbs[0].value(&mut w.b);
    let pointer = reach(&offset, low, limit, offsets::MEMORY_BASE, w, |high, w| {
        w.spill();
        w.save();
        let high = high.unwrap_or_else(|| w.b.ins().iconst(types::I64, 0));
        let ahead = w.b.ins().iconst(types::I64, 0);
        let args = [w.context(), low, high, ahead, w.gas];
        let results = w.call(builtin, &args);
        w.restore();
        w.check_status(results[0]);
        w.unspill();
        w.start_again();
    });
    if opcode == Opcode::MLOAD {
        let (word, stack) = (load_big_endian(pointer, 0, &mut w.b), w.popped(1));
        w.next_as(Top::Wide, stack, &word);
        return;
    }
    let (value, stack) = (w.word(1), w.popped(2));
    if opcode == Opcode::MSTORE {
        store_big_endian(&value, pointer, 0, &mut w.b);
    } else {
        let byte = value.limbs[0].value(&mut w.b);
        w.b.ins().istore8(MemFlagsData::new().with_notrap(), byte, pointer, 0);
    }
    w.next(stack);
}

fn calldataload(w: &mut Writer<'_>) {
    let offset = w.word(0);
    let go_on = w.b.create_block();
    let params = [(); 3].map(|()| w.b.append_block_param(go_on, types::I64));
    let low = offset.limbs[0].value(&mut w.b);
    let limit = offsets::CALLDATA_WORDS_END;
    let inside = reach(&offset, low, limit, offsets::CALLDATA_BASE, w, |high, w| {
        w.save();
        let high = high.unwrap_or_else(|| w.b.ins().iconst(types::I64, 0));
        let args = [w.context(), low, high];
        let scratch = w.call(Builtin::CalldataWord, &args)[0];
        w.restore();
        let args = [scratch, w.stack, w.gas].map(ir::BlockArg::Value);
        w.b.ins().jump(go_on, &args);
    });
    let args = [inside, w.stack, w.gas].map(ir::BlockArg::Value);
    w.b.ins().jump(go_on, &args);
    w.b.switch_to_block(go_on);
    let [pointer, stack, gas] = params;
    (w.stack, w.gas) = (stack, gas);
    let (word, stack) = (load_big_endian(pointer, 0, &mut w.b), w.popped(1));
    w.next_as(Top::Wide, stack, &word);
}

/// The address of what is at an offset in a buffer, if that is below the limit; `beyond` writes
/// what is to be done if not, from the union of the offset's upper limbs, unless that is zero.
fn reach(
    offset: &Word,
    low: ir::Value,
    limit: i32,
    base: i32,
    w: &mut Writer<'_>,
    beyond: impl FnOnce(Option<ir::Value>, &mut Writer<'_>),
) -> ir::Value {
    let outside = w.b.create_block();
    w.b.set_cold_block(outside);
    let high = offset.high_union(&mut w.b);
    let high = match high {
        Limb::ZERO => None,
        high => Some(high.value(&mut w.b)),
    };
    let require = |failure: ir::Value, w: &mut Writer<'_>| {
        let go_on = w.b.create_block();
        w.b.ins().brif(failure, outside, &[], go_on, &[]);
        w.b.switch_to_block(go_on);
    };
    if let Some(high) = high {
        require(high, w);
    }
    let limit = w.load_context(limit);
    let is_beyond = w.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, low, limit);
    require(is_beyond, w);
    let inside = w.b.current_block();
    let registers = w.registers();
    w.b.switch_to_block(outside);
    beyond(high, w);
    w.set_registers(registers);
    if let Some(inside) = inside {
        w.b.switch_to_block(inside);
    }
    let base = w.load_context(base);
    w.b.ins().iadd(base, low)
}
