//! What opcodes compute, as functions from words to words in Cranelift's IR: both tiers are made of
//! them.

mod access;
mod arithmetic;
mod bitwise;
mod jump_target;
mod word;

pub(crate) use access::{address, call_value, load_big_endian, store_big_endian};
pub(crate) use bitwise::{and, shr};
use cranelift_frontend::FunctionBuilder;
use cranevm_passes::ir::opcode::Opcode;
pub(crate) use jump_target::Surroundings;
use revm_primitives::U256;
pub(crate) use word::{Limb, Word};

type Builder<'a, 'f> = &'a mut FunctionBuilder<'f>;

/// How an opcode's result comes of its operands, the stack's top first.
pub(crate) enum Computation {
    /// Of one word.
    Unary(fn(Word, Builder<'_, '_>) -> Word),
    /// Of two words.
    Binary(fn(Word, Word, Builder<'_, '_>) -> Word),
    /// Of two words, of which the first is a constant.
    ByConstant(fn(U256, Word, Builder<'_, '_>) -> Word),
}

/// How an opcode's result is computed inline, if it is.
pub(crate) fn computation(opcode: Opcode) -> Option<Computation> {
    use Computation::{Binary, ByConstant, Unary};
    Some(match opcode {
        Opcode::ADD => Binary(arithmetic::add),
        Opcode::SUB => Binary(arithmetic::sub),
        Opcode::MUL => Binary(arithmetic::mul),
        Opcode::AND => Binary(bitwise::and),
        Opcode::OR => Binary(bitwise::or),
        Opcode::XOR => Binary(bitwise::xor),
        Opcode::NOT => Unary(bitwise::not),
        Opcode::ISZERO => Unary(bitwise::is_zero),
        Opcode::CLZ => Unary(bitwise::leading_zeros),
        Opcode::EQ => Binary(bitwise::equal),
        Opcode::LT => Binary(bitwise::less_than),
        Opcode::GT => Binary(|x, y, b| bitwise::less_than(y, x, b)),
        Opcode::SLT => Binary(bitwise::signed_less_than),
        Opcode::SGT => Binary(|x, y, b| bitwise::signed_less_than(y, x, b)),
        Opcode::SHL => ByConstant(bitwise::shl),
        Opcode::SHR => ByConstant(bitwise::shr),
        Opcode::SAR => ByConstant(bitwise::sar),
        Opcode::BYTE => ByConstant(bitwise::byte),
        Opcode::SIGNEXTEND => ByConstant(bitwise::sign_extend),
        _ => return None,
    })
}
