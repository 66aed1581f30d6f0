//! A stencil in Cranelift's IR: the function that it is made from, its holes and its ways out.
//!
//! The function takes what travels in registers between stencils (the stack pointer, the gas, the
//! top word's limbs) and ends in tail calls of names, which stand for where it goes on. Holes are
//! numbers that differ from one making to the next ([`Magic`]), by which they are found.

use super::key::{Leave, Top};
use crate::{
    abi::offsets,
    builtins::Builtin,
    translate::builtin_signature,
    words::{Limb, Word},
};
use cranelift_codegen::{
    ir::{
        self, AbiParam, Block, BlockArg, ConstantData, ExtFuncData, ExternalName, Function,
        GlobalValueData, InstBuilder, MemFlagsData, UserExternalName, types,
    },
    isa::{CallConv, TargetFrontendConfig},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

/// Bytes of a stack word.
pub(super) const WORD: i32 = 32;

/// Where a stencil goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Symbol {
    /// What follows it.
    Next,
    /// The label that a branch leads to.
    Taken,
    /// Where a block's checks lead if they fail: to the interpreter, with nothing done.
    Refused,
    /// Out of the frame.
    Leave(Leave),
}

/// Namespaces of names in the IR.
const SYMBOLS: u32 = 0;
const LIMBS: u32 = 1;

impl Symbol {
    const fn index(self) -> u32 {
        match self {
            Self::Next => 0,
            Self::Taken => 1,
            Self::Refused => 2,
            Self::Leave(leave) => 3 + leave as u32,
        }
    }

    /// The symbol of a name in the IR.
    pub(super) fn of(name: &UserExternalName) -> Option<Self> {
        let all = [Self::Next, Self::Taken, Self::Refused];
        let mut all = all.into_iter().chain(Leave::ALL.map(Self::Leave));
        all.find(|symbol| name.namespace == SYMBOLS && name.index == symbol.index())
    }
}

/// The number of the hole of 64 bits that a name in the IR stands for.
pub(super) fn limb_of(name: &UserExternalName) -> Option<u8> {
    u8::try_from(name.index).ok().filter(|_| name.namespace == LIMBS)
}

/// What stands in the holes in one making of a stencil.
#[derive(Clone, Copy, Debug)]
pub(super) struct Magic {
    /// By number, for holes below 2^31.
    pub(super) words: [i64; 2],
    /// For the hole below 2^7.
    pub(super) byte: i64,
}

/// Between any two makings all bytes of a hole differ, also with a small number added; and each
/// hole by an amount of its own.
pub(super) const MAKINGS: [Magic; 2] = [
    Magic { words: [0x1b2c_3d4e, 0x5162_7384], byte: 0x55 },
    Magic { words: [0x6a7b_0c1d, 0x2031_4253], byte: 0x2a },
];

/// The function's signature: `(stack pointer, gas, limbs of the top word) -> status`.
pub(super) fn signature(top: Top) -> ir::Signature {
    let mut signature = ir::Signature::new(CallConv::Tail);
    signature.params = vec![AbiParam::new(types::I64); 2 + top.limbs()];
    signature.returns.push(AbiParam::new(types::I64));
    signature
}

/// The function of a stencil, while it is written.
pub(super) struct Writer<'a> {
    pub(super) b: FunctionBuilder<'a>,
    target: TargetFrontendConfig,
    magic: &'a Magic,
    top: Top,
    pub(super) stack: ir::Value,
    pub(super) gas: ir::Value,
    limbs: Vec<ir::Value>,
    /// Pointers that are others moved by so many words.
    moves: Vec<(ir::Value, ir::Value, i32)>,
    /// Where the function can be begun again, with the same parameters.
    start: Block,
    /// What the next stencil finds.
    after: Option<Top>,
    /// Whether that is the same on all ways there.
    is_unanimous: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        func: &'a mut Function,
        top: Top,
        magic: &'a Magic,
        target: TargetFrontendConfig,
        scratch: &'a mut FunctionBuilderContext,
    ) -> Self {
        func.signature = signature(top);
        let mut b = FunctionBuilder::new(func, scratch);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let start = b.create_block();
        let args: Vec<_> = b.block_params(entry).iter().copied().map(BlockArg::Value).collect();
        for _ in &args {
            b.append_block_param(start, types::I64);
        }
        b.ins().jump(start, &args);
        b.switch_to_block(start);
        let params = b.block_params(start).to_vec();
        let (stack, gas, limbs) = (params[0], params[1], params[2..].to_vec());
        let (moves, after) = (Vec::new(), None);
        Self { b, target, magic, top, stack, gas, limbs, moves, start, after, is_unanimous: true }
    }

    /// Ends the function; where the next stencil finds the top word, if there is a next one.
    ///
    /// # Errors
    /// If that isn't the same on all ways there.
    pub(super) fn finish(mut self) -> Result<Option<Top>, &'static str> {
        self.b.seal_all_blocks();
        self.b.finalize(self.target);
        if self.is_unanimous { Ok(self.after) } else { Err("it leaves the top word in two places") }
    }

    /// A number below 2^31 that is put into copies.
    pub(super) fn word_hole(&mut self, number: usize) -> ir::Value {
        self.b.ins().iconst(types::I64, self.magic.words[number])
    }

    /// A number below 2^7 that is put into copies.
    pub(super) fn byte_hole(&mut self) -> ir::Value {
        self.b.ins().iconst(types::I64, self.magic.byte)
    }

    /// A number below 2^64 that is put into copies.
    pub(super) fn limb_hole(&mut self, number: u8) -> ir::Value {
        let name = UserExternalName { namespace: LIMBS, index: number.into() };
        let name = ExternalName::user(self.b.func.declare_imported_user_function(name));
        let data = GlobalValueData::Symbol {
            name,
            offset: ir::immediates::Imm64::new(0),
            colocated: false,
            tls: false,
        };
        let global = self.b.func.create_global_value(data);
        self.b.ins().symbol_value(types::I64, global)
    }

    /// The stack pointer without so many of the topmost words, one that is in registers included.
    pub(super) fn popped(&mut self, words: i32) -> ir::Value {
        let cached = i32::from(self.top != Top::Memory);
        self.moved(cached - words)
    }

    /// The stack pointer, so many words higher.
    pub(super) fn moved(&mut self, words: i32) -> ir::Value {
        if words == 0 {
            return self.stack;
        }
        let moved = self.move_from(self.stack, words);
        self.moves.push((moved, self.stack, words));
        moved
    }

    /// On x86-64 a number of eight bits is short in a subtraction; additions are by `lea`.
    fn move_from(&mut self, stack: ir::Value, words: i32) -> ir::Value {
        let distance = self.b.ins().iconst(types::I64, i64::from(-words * WORD));
        self.b.ins().isub(stack, distance)
    }

    /// The word on the stack at so many bytes from a pointer.
    pub(super) fn load_at(&mut self, pointer: ir::Value, at: i32) -> Word {
        let limbs = std::array::from_fn(|limb| {
            let at = at + 8 * limb as i32;
            Limb::Value(self.b.ins().load(types::I64, MemFlagsData::trusted(), pointer, at))
        });
        Word::new(limbs, 256)
    }

    /// Writes a word to the stack, at so many bytes from a pointer.
    pub(super) fn store_at(&mut self, word: &Word, pointer: ir::Value, at: i32) {
        if let [low, Limb::ZERO, Limb::ZERO, Limb::ZERO] = word.limbs {
            let low = low.value(&mut self.b);
            self.b.ins().store(MemFlagsData::trusted(), low, pointer, at);
            self.clear_upper(pointer, at);
            return;
        }
        for (index, limb) in word.limbs.iter().enumerate() {
            let value = limb.value(&mut self.b);
            self.b.ins().store(MemFlagsData::trusted(), value, pointer, at + 8 * index as i32);
        }
    }

    /// Clears the upper three limbs of a word: by halves that overlap, in few bytes.
    fn clear_upper(&mut self, pointer: ir::Value, at: i32) {
        let zeros = self.b.func.dfg.constants.insert(ConstantData::from([0; 16].as_slice()));
        let zeros = self.b.ins().vconst(types::I8X16, zeros);
        for at in [at + 8, at + 16] {
            self.b.ins().store(MemFlagsData::new().with_notrap(), zeros, pointer, at);
        }
    }

    /// Puts the top word in the place of another on the stack, which is returned. One limb after the
    /// other, so that few are in registers at once.
    pub(super) fn exchange_top(&mut self, at: i32) -> Word {
        let top = self.word(0);
        if self.top == Top::Narrow {
            let other = self.load_at(self.stack, at);
            self.store_at(&top, self.stack, at);
            return other;
        }
        let flags = MemFlagsData::trusted();
        let limbs = std::array::from_fn(|limb| {
            let at = at + 8 * limb as i32;
            let other = self.b.ins().load(types::I64, flags, self.stack, at);
            let value = top.limbs[limb].value(&mut self.b);
            self.b.ins().store(flags, value, self.stack, at);
            Limb::Value(other)
        });
        Word::new(limbs, 256)
    }

    /// The word at a depth below the top one; 0 is the top itself.
    pub(super) fn word(&mut self, depth: i32) -> Word {
        match (self.top, depth) {
            (Top::Narrow, 0) => Word::narrow(self.limbs[0], 64),
            (Top::Wide, 0) => {
                Word::new(std::array::from_fn(|limb| Limb::Value(self.limbs[limb])), 256)
            }
            (Top::Memory, _) => self.load_at(self.stack, -WORD * (depth + 1)),
            _ => self.load_at(self.stack, -WORD * depth),
        }
    }

    /// The lowest limb of the top word, which is in a register.
    pub(super) fn low(&self) -> ir::Value {
        self.limbs[0]
    }

    /// The pointer to the context.
    pub(super) fn context(&mut self) -> ir::Value {
        self.b.ins().get_pinned_reg(types::I64)
    }

    pub(super) fn load_context(&mut self, offset: i32) -> ir::Value {
        let context = self.context();
        self.b.ins().load(types::I64, MemFlagsData::trusted(), context, offset)
    }

    pub(super) fn store_context(&mut self, value: ir::Value, offset: i32) {
        let context = self.context();
        self.b.ins().store(MemFlagsData::trusted(), value, context, offset);
    }

    /// Leaves the stack pointer and the gas in the context while a builtin runs: whatever is in
    /// registers then doesn't survive.
    pub(super) fn save(&mut self) {
        self.store_context(self.stack, offsets::STACK_TOP);
        self.store_context(self.gas, offsets::GAS);
    }

    /// Takes what [`save`](Self::save) left, as a builtin may have changed it.
    pub(super) fn restore(&mut self) {
        self.stack = self.load_context(offsets::STACK_TOP);
        self.gas = self.load_context(offsets::GAS);
    }

    /// Calls a builtin; its results.
    pub(super) fn call(&mut self, builtin: Builtin, args: &[ir::Value]) -> Vec<ir::Value> {
        let signature = builtin_signature(builtin.signature(), self.target.default_call_conv);
        let signature = self.b.import_signature(signature);
        let table = self.load_context(offsets::BUILTINS);
        let callee =
            self.b.ins().load(types::I64, MemFlagsData::trusted(), table, builtin.offset());
        let call = self.b.ins().call_indirect(signature, callee, args);
        self.b.inst_results(call).to_vec()
    }

    /// Leaves the frame if a builtin's status says so.
    pub(super) fn check_status(&mut self, status: ir::Value) {
        let [fail, go_on] = [(); 2].map(|()| self.b.create_block());
        self.b.set_cold_block(fail);
        self.b.ins().brif(status, fail, &[], go_on, &[]);
        self.b.switch_to_block(fail);
        let (stack, gas) = (self.stack, self.gas);
        self.exit(Symbol::Leave(Leave::Status), Top::Narrow, stack, gas, &[status]);
        self.b.switch_to_block(go_on);
    }

    /// Begins the function again, as it was entered. The top word is where it was.
    pub(super) fn start_again(&mut self) {
        let args = [self.stack, self.gas].into_iter().chain(self.limbs.iter().copied());
        let args: Vec<_> = args.map(BlockArg::Value).collect();
        self.b.ins().jump(self.start, &args);
    }

    /// What is in registers now.
    pub(super) fn registers(&self) -> (ir::Value, ir::Value, Vec<ir::Value>) {
        (self.stack, self.gas, self.limbs.clone())
    }

    /// Goes on writing where these are in registers.
    pub(super) fn set_registers(&mut self, registers: (ir::Value, ir::Value, Vec<ir::Value>)) {
        (self.stack, self.gas, self.limbs) = registers;
    }

    /// Writes what is in registers of the top word to its slot, which is free.
    pub(super) fn spill(&mut self) {
        for (index, &limb) in self.limbs.iter().enumerate() {
            self.b.ins().store(MemFlagsData::trusted(), limb, self.stack, 8 * index as i32);
        }
    }

    /// Takes back what [`spill`](Self::spill) wrote.
    pub(super) fn unspill(&mut self) {
        for index in 0..self.limbs.len() {
            let flags = MemFlagsData::trusted();
            self.limbs[index] = self.b.ins().load(types::I64, flags, self.stack, 8 * index as i32);
        }
    }

    /// A block that is only run where something unusual happens, begun if the flag is set.
    pub(super) fn unlikely(&mut self, flag: ir::Value) -> (Block, Block) {
        let [rare, usual] = [(); 2].map(|()| self.b.create_block());
        self.b.set_cold_block(rare);
        self.b.ins().brif(flag, rare, &[], usual, &[]);
        (rare, usual)
    }

    /// Goes on elsewhere, with a top word of these limbs.
    pub(super) fn exit(
        &mut self,
        symbol: Symbol,
        top: Top,
        stack: ir::Value,
        gas: ir::Value,
        limbs: &[ir::Value],
    ) {
        if symbol == Symbol::Next {
            self.is_unanimous &= self.after.is_none_or(|after| after == top);
            self.after = Some(top);
        }
        // Made anew, for none has to be kept in a register until here.
        let stack = match self.moves.iter().find(|(moved, ..)| *moved == stack) {
            Some(&(_, from, words)) => self.move_from(from, words),
            None => stack,
        };
        let signature = self.b.import_signature(signature(top));
        let name = UserExternalName { namespace: SYMBOLS, index: symbol.index() };
        let name = ExternalName::user(self.b.func.declare_imported_user_function(name));
        let data = ExtFuncData { name, signature, colocated: true, patchable: false };
        let callee = self.b.import_function(data);
        let args: Vec<_> = [stack, gas].into_iter().chain(limbs.iter().copied()).collect();
        self.b.ins().return_call(callee, &args);
    }

    /// Goes on with what follows, the top word on the stack.
    pub(super) fn next(&mut self, stack: ir::Value) {
        self.exit(Symbol::Next, Top::Memory, stack, self.gas, &[]);
    }

    /// Goes on with what follows, with a new top word, whose slot is at the stack pointer.
    pub(super) fn next_with(&mut self, stack: ir::Value, word: &Word) {
        let top = if word.is_narrow() { Top::Narrow } else { Top::Wide };
        self.next_as(top, stack, word);
    }

    /// [`next_with`](Self::next_with), in so many registers.
    pub(super) fn next_as(&mut self, top: Top, stack: ir::Value, word: &Word) {
        let limbs: Vec<_> =
            word.limbs[..top.limbs()].iter().map(|limb| limb.value(&mut self.b)).collect();
        self.exit(Symbol::Next, top, stack, self.gas, &limbs);
    }

    /// Leaves the frame without a word.
    pub(super) fn leave(&mut self, leave: Leave) {
        let (stack, gas) = (self.stack, self.gas);
        self.exit(Symbol::Leave(leave), leave.top(), stack, gas, &[]);
    }

    /// Goes where a block's checks lead if the flag is set.
    pub(super) fn refuse_if(&mut self, flag: ir::Value) {
        let (refuse, go_on) = self.unlikely(flag);
        self.b.switch_to_block(refuse);
        let (stack, gas) = (self.stack, self.gas);
        self.exit(Symbol::Refused, Top::Memory, stack, gas, &[]);
        self.b.switch_to_block(go_on);
    }
}
