//! Calls out of compiled code: builtins under the stack-call convention, and delegated opcodes.

use super::{Translator, trusted};
use crate::{
    abi::offsets,
    builtins::{Builtin, Signature},
    words::{self, Word},
};
use cranelift_codegen::{
    ir::{self, AbiParam, BlockArg, InstBuilder, types},
    isa::CallConv,
};
use cranelift_frontend::FunctionBuilder;
use cranevm_passes::ir::{entities::Inst, opcode::Opcode, program::Output};
use revm_primitives::U256;

/// The signature of a builtin in Cranelift's IR.
pub(crate) fn builtin_signature(signature: Signature, call_conv: CallConv) -> ir::Signature {
    let mut clif = ir::Signature::new(call_conv);
    let (params, returns) = match signature {
        Signature::Words => (1, 0),
        Signature::Calldata => (3, 1),
        Signature::Memory => (5, 2),
        Signature::Delegate => (4, 1),
    };
    clif.params = vec![AbiParam::new(types::I64); params];
    clif.returns = vec![AbiParam::new(types::I64); returns];
    clif
}

impl Translator<'_, '_> {
    /// Calls a builtin; its result, if it has one.
    pub(super) fn call(&mut self, builtin: Builtin, args: &[ir::Value]) -> Option<ir::Value> {
        let call = self.emit_call(builtin, args);
        self.b.inst_results(call).first().copied()
    }

    /// Calls a builtin that returns a status and the gas left.
    pub(super) fn call_for_two(&mut self, builtin: Builtin, args: &[ir::Value]) -> [ir::Value; 2] {
        let call = self.emit_call(builtin, args);
        let &[status, gas] = self.b.inst_results(call) else {
            unreachable!("{builtin:?} returns a status and the gas")
        };
        [status, gas]
    }

    fn emit_call(&mut self, builtin: Builtin, args: &[ir::Value]) -> ir::Inst {
        let signature = self.signature(builtin.signature());
        let callee = if builtin == Builtin::GrowWord {
            self.load_context(types::I64, offsets::GROW_WORD)
        } else {
            let table = self.load_context(types::I64, offsets::BUILTINS);
            self.b.ins().load(types::I64, trusted(), table, builtin.offset())
        };
        let call = self.b.ins().call_indirect(signature, callee, args);
        self.forget_shared();
        call
    }

    fn signature(&mut self, signature: Signature) -> ir::SigRef {
        if let Some(known) = self.signatures[signature as usize] {
            return known;
        }
        let clif = builtin_signature(signature, self.default_call_conv);
        *self.signatures[signature as usize].insert(self.b.import_signature(clif))
    }

    /// Puts an instruction's arguments into their slots and makes room for its result. Returns the
    /// pointer past the first argument.
    fn place_arguments(&mut self, inst: Inst) -> ir::Value {
        let program = self.program;
        let data = &program.insts[inst];
        let args = program.args(inst);
        let slots = args
            .iter()
            .enumerate()
            .map(|(index, &value)| Output { slot: data.height - 1 - index as i16, value });
        self.write_slots(slots);
        if data.result.is_some() {
            self.clobber(data.height - args.len() as i16);
        }
        self.stack_at(data.height)
    }

    /// Marks the result of a call as lying in its slot.
    fn result_in_slot(&mut self, inst: Inst) {
        let data = &self.program.insts[inst];
        if let Some(result) = data.result.expand() {
            self.settle(data.height - data.args.len() as i16, result);
        }
    }

    /// Calls the opcode's builtin, which can't fail: words in, a word out.
    pub(super) fn call_words(&mut self, inst: Inst) {
        let builtin = Builtin::of(self.program.insts[inst].opcode);
        let top = self.place_arguments(inst);
        self.call(builtin, &[top]);
        self.result_in_slot(inst);
    }

    /// Goes on if a builtin's status is zero, else ends with it.
    pub(super) fn check_status(&mut self, status: ir::Value) {
        let fail = self.fail_block();
        let go_on = self.b.create_block();
        self.b.ins().brif(status, fail, &[BlockArg::Value(status)], go_on, &[]);
        self.b.switch_to_block(go_on);
    }

    /// Calls a builtin that charges gas and may fail.
    pub(super) fn call_charged(&mut self, inst: Inst, builtin: Builtin) {
        let data = &self.program.insts[inst];
        let (opcode, ahead) = (data.opcode, self.gas_after(inst));
        let top = self.place_arguments(inst);
        let status = self.call_delegate(builtin, top, opcode, ahead);
        self.check_status(status);
        self.state.gas = Some(self.load_context(types::I64, offsets::GAS));
        self.result_in_slot(inst);
    }

    /// Puts the arguments of a block's last instruction into their slots, and calls it.
    pub(super) fn delegate_last(&mut self, inst: Inst) -> ir::Value {
        let data = &self.program.insts[inst];
        let (opcode, next_pc) = (data.opcode, u64::from(data.pc) + 1);
        let top = self.place_arguments(inst);
        self.call_delegate(Builtin::DelegateLast, top, opcode, next_pc)
    }

    fn call_delegate(
        &mut self,
        builtin: Builtin,
        top: ir::Value,
        opcode: Opcode,
        immediate: u64,
    ) -> ir::Value {
        let gas = self.gas();
        self.store_context(gas, offsets::GAS);
        let opcode = self.b.ins().iconst(types::I64, i64::from(opcode.get()));
        let immediate = self.b.ins().iconst(types::I64, immediate as i64);
        let args = [self.context(), top, opcode, immediate];
        self.call(builtin, &args).expect("the signature has a result")
    }

    /// DIV and MOD: by a constant power of two they are a shift or a mask.
    pub(super) fn division(&mut self, inst: Inst) {
        let is_div = self.program.insts[inst].opcode == Opcode::DIV;
        let divisor = self.known_constant(self.program.args(inst)[1]);
        match divisor {
            Some(divisor) if divisor.is_power_of_two() => self.binary(inst, |x, _, b| {
                if is_div {
                    words::shr(U256::from(divisor.trailing_zeros()), x, b)
                } else {
                    words::and(x, Word::constant(divisor - U256::from(1)), b)
                }
            }),
            _ => self.call_words(inst),
        }
    }

    /// Opcodes with a short form when their first argument is a constant.
    pub(super) fn by_constant(
        &mut self,
        inst: Inst,
        op: impl FnOnce(U256, Word, &mut FunctionBuilder<'_>) -> Word,
    ) {
        match self.known_constant(self.program.args(inst)[0]) {
            Some(constant) => self.binary(inst, |_, word, b| op(constant, word, b)),
            None => self.call_words(inst),
        }
    }
}
