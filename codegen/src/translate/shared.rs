//! Cranelift values that several instructions of one Cranelift block share: the context's pointer,
//! the base of memory, zeros.
//!
//! Each is made when first needed and forgotten at the block's end and at calls: fewer instructions
//! to compile, and no register is held for long. Memory may have moved after a call.

use super::{Translator, trusted, unaligned};
use crate::abi::offsets;
use cranelift_codegen::ir::{self, ConstantData, InstBuilder, types};

/// The values known in the current block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shared {
    block: Option<ir::Block>,
    context: Option<ir::Value>,
    memory_base: Option<ir::Value>,
    zero: Option<ir::Value>,
    wide_zero: Option<ir::Value>,
}

impl Translator<'_, '_> {
    fn shared(&mut self) -> &mut Shared {
        let block = self.b.current_block();
        if self.shared.block != block {
            self.shared = Shared { block, ..Shared::default() };
        }
        &mut self.shared
    }

    /// Forgets everything: at a call, which would only spill the values, and may move memory.
    pub(super) fn forget_shared(&mut self) {
        self.shared = Shared::default();
    }

    /// The pointer to the context.
    pub(super) fn context(&mut self) -> ir::Value {
        if let Some(known) = self.shared().context {
            return known;
        }
        let context = self.b.ins().get_pinned_reg(types::I64);
        *self.shared().context.insert(context)
    }

    /// The address of the first byte of memory.
    pub(super) fn memory_base(&mut self) -> ir::Value {
        if let Some(known) = self.shared().memory_base {
            return known;
        }
        let base = self.load_context(types::I64, offsets::MEMORY_BASE);
        *self.shared().memory_base.insert(base)
    }

    /// Zero, as an `i64`.
    fn zero(&mut self) -> ir::Value {
        if let Some(known) = self.shared().zero {
            return known;
        }
        let zero = self.b.ins().iconst(types::I64, 0);
        *self.shared().zero.insert(zero)
    }

    /// Zero, as half a word.
    fn wide_zero(&mut self) -> ir::Value {
        if let Some(known) = self.shared().wide_zero {
            return known;
        }
        let handle = match self.zero_constant {
            Some(handle) => handle,
            None => {
                let constants = &mut self.b.func.dfg.constants;
                *self.zero_constant.insert(constants.insert(ConstantData::from([0; 16].as_slice())))
            }
        };
        let zero = self.b.ins().vconst(types::I8X16, handle);
        *self.shared().wide_zero.insert(zero)
    }

    /// Stores zero to 8 bytes.
    pub(super) fn store_zero(&mut self, pointer: ir::Value, at: i32) {
        let zero = self.zero();
        self.b.ins().store(unaligned(), zero, pointer, at);
    }

    /// Stores zero to 16 bytes.
    pub(super) fn store_wide_zero(&mut self, pointer: ir::Value, at: i32) {
        let zero = self.wide_zero();
        self.b.ins().store(unaligned(), zero, pointer, at);
    }

    pub(super) fn load_context(&mut self, ty: ir::Type, offset: i32) -> ir::Value {
        let context = self.context();
        self.b.ins().load(ty, trusted(), context, offset)
    }

    pub(super) fn store_context(&mut self, value: ir::Value, offset: i32) {
        let context = self.context();
        self.b.ins().store(trusted(), value, context, offset);
    }
}
