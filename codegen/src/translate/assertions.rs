//! The checks of [`debug_assertions`](crate::CompilerOptions::debug_assertions): a call at the
//! start of each block, before its gas is charged.

use super::Translator;
use crate::builtins::Builtin;
use cranelift_codegen::ir::{InstBuilder, types};
use cranevm_passes::ir::entities::Block;

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
}
