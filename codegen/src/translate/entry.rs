//! The functions before the first chunk: how code is entered, and what absent chunks have instead.
//!
//! They depend on the machine alone, so a compiler builds them once.

use super::chunk_signature;
use crate::abi::{STATUS_ABSENT_ENTRY, offsets};
use cranelift_codegen::{
    ir::{
        AbiParam, Block, ExtFuncData, ExternalName, Function, InstBuilder, MemFlagsData, Signature,
        UserExternalName, types,
    },
    isa::{CallConv, TargetFrontendConfig},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

/// `extern "C" fn(context) -> status`: how a program is entered from Rust.
pub(crate) fn entry_signature(call_conv: CallConv) -> Signature {
    let mut signature = Signature::new(call_conv);
    signature.params.push(AbiParam::new(types::I64));
    signature.returns.push(AbiParam::new(types::I64));
    signature
}

/// Begins an empty function: its builder, and its first block.
pub(crate) fn begin<'a>(
    func: &'a mut Function,
    signature: Signature,
    scratch: &'a mut FunctionBuilderContext,
) -> (FunctionBuilder<'a>, Block) {
    func.signature = signature;
    let mut b = FunctionBuilder::new(func, scratch);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    (b, block)
}

/// How a program is entered with what was loaded.
pub(crate) enum EnterBy {
    /// By calling the chunk, which has a frame of its own.
    Chunk,
    /// By calling what follows the entry, with a function's signature: it takes the address of the
    /// code.
    Call(Signature),
}

/// The entry from Rust: `extern "C" fn(context) -> status`. Loads what chunks keep in
/// registers, and enters where the context says.
pub(crate) fn trampoline(
    target: TargetFrontendConfig,
    enter: EnterBy,
    func: &mut Function,
    scratch: &mut FunctionBuilderContext,
) {
    let (mut b, block) = begin(func, entry_signature(target.default_call_conv), scratch);
    let context = b.block_params(block)[0];
    let flags = MemFlagsData::trusted();
    let stack = b.ins().load(types::I64, flags, context, offsets::STACK_TOP);
    let gas = b.ins().load(types::I64, flags, context, offsets::GAS);
    let code = b.ins().load(types::I64, flags, context, offsets::TARGET);
    // For the caller, the pinned register is one like any other that a callee saves.
    let saved = b.ins().get_pinned_reg(types::I64);
    b.ins().set_pinned_reg(context);
    let call = match enter {
        EnterBy::Chunk => {
            let ordinal = b.ins().load(types::I32, flags, context, offsets::ENTRY);
            let signature = b.import_signature(chunk_signature());
            b.ins().call_indirect(signature, code, &[stack, gas, ordinal])
        }
        EnterBy::Call(signature) => {
            let signature = b.import_signature(signature);
            let name = UserExternalName { namespace: 0, index: 0 };
            let name = ExternalName::user(b.func.declare_imported_user_function(name));
            let data = ExtFuncData { name, signature, colocated: true, patchable: false };
            let callee = b.import_function(data);
            b.ins().call(callee, &[stack, gas, code])
        }
    };
    let status = b.inst_results(call)[0];
    b.ins().set_pinned_reg(saved);
    b.ins().return_(&[status]);
    b.seal_all_blocks();
    b.finalize(target);
}

/// What the entry table holds for entry points whose chunk isn't compiled: hands over.
pub(crate) fn absent_stub(
    target: TargetFrontendConfig,
    func: &mut Function,
    scratch: &mut FunctionBuilderContext,
) {
    let (mut b, block) = begin(func, chunk_signature(), scratch);
    let &[stack, gas, ordinal] = b.block_params(block) else {
        unreachable!("a chunk has three parameters")
    };
    let context = b.ins().get_pinned_reg(types::I64);
    let flags = MemFlagsData::trusted();
    b.ins().store(flags, stack, context, offsets::STACK_TOP);
    b.ins().store(flags, gas, context, offsets::GAS);
    let ordinal = b.ins().uextend(types::I64, ordinal);
    b.ins().store(flags, ordinal, context, offsets::ENTRY);
    let status = b.ins().iconst(types::I64, STATUS_ABSENT_ENTRY as i64);
    b.ins().return_(&[status]);
    b.seal_all_blocks();
    b.finalize(target);
}
