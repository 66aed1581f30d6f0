//! The checks of [`debug_assertions`](crate::CompilerOptions::debug_assertions): a call at the
//! start of each block, before its gas is charged, and one before each access that nothing else
//! checks.

use super::{STACK_WORD, Translator};
use crate::builtins::{Buffer, Builtin};
use cranelift_codegen::ir::{self, InstBuilder, types};
use cranevm_passes::ir::entities::Block;

/// The words of the stack, relative to the region's start, that are checked to be there, in one
/// Cranelift block. What is between two of them is there, too.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CheckedWords {
    block: Option<ir::Block>,
    lowest: i32,
    highest: i32,
}

impl Translator<'_, '_> {
    /// Emits the check of what the block relies on, if the options ask for it.
    pub(super) fn assert_invariants(&mut self, block: Block) {
        if !self.asserts {
            return;
        }
        let program = self.program;
        let place = u64::from(program.blocks[block].pc) | u64::from(program.code_len) << 32;
        let (stack, gas) = (self.stack_at(0), self.gas());
        let place = self.b.ins().iconst(types::I64, place.cast_signed());
        let memory = self.state.known_memory.cast_signed();
        let memory = self.b.ins().iconst(types::I64, memory);
        let args = [self.context(), stack, gas, place, memory];
        let [status, _] = self.call_for_two(Builtin::CheckInvariants, &args);
        self.check_status(status);
    }

    /// Emits the check of an access to so many bytes, if the options ask for it.
    pub(super) fn assert_access(
        &mut self,
        pointer: ir::Value,
        at: i32,
        bytes: u64,
        buffer: Buffer,
    ) {
        if !self.asserts {
            return;
        }
        let place = u64::from(self.pc) | (buffer as u64) << 32;
        let address = self.b.ins().iadd_imm_s(pointer, i64::from(at));
        let [bytes, place, unused] =
            [bytes, place, 0].map(|n| self.b.ins().iconst(types::I64, n.cast_signed()));
        let args = [self.context(), address, bytes, place, unused];
        let [status, _] = self.call_for_two(Builtin::CheckAccess, &args);
        self.check_status(status);
    }

    /// Emits the check of an access to a slot, if the options ask for it and it isn't checked.
    pub(super) fn assert_slot(&mut self, slot: i16) {
        if !self.asserts {
            return;
        }
        let word = self.state.height + i32::from(slot);
        let mut checked = self.checked_words;
        if checked.block != self.b.current_block() {
            checked = CheckedWords { block: None, lowest: word, highest: word };
        } else if (checked.lowest..=checked.highest).contains(&word) {
            return;
        }
        let stack = self.stack();
        self.assert_access(stack, self.slot_offset(slot), STACK_WORD as u64, Buffer::Stack);
        // All that comes goes on from here.
        self.checked_words = CheckedWords {
            block: self.b.current_block(),
            lowest: checked.lowest.min(word),
            highest: checked.highest.max(word),
        };
    }
}
