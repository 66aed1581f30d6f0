//! From a chunk of an analysed program to a Cranelift function.
//!
//! Each basic block is walked once: its head (`gas`), its instructions (each as the opcode table
//! says), its terminator (`control`). Values
//! stay in SSA within a block and go to the EVM stack's memory at its end, unless a loop carries
//! them or the only successor takes them off. What only one opcode needs is in the file of its
//! family.

mod assertions;
mod calls;
mod chaos;
mod control;
mod dead_stores;
pub(crate) mod entry;
mod environment;
mod gas;
mod loops;
mod memory;
mod refine;
mod regions;
mod shared;
mod state;

use crate::{
    builtins::{Builtin, Signature},
    chaos::{Decision, Dice},
    options::CompilerOptions,
    words::{Computation, Word, computation},
};
pub(crate) use calls::builtin_signature;
use cranelift_codegen::{
    ir::{self, AbiParam, MemFlagsData, types},
    isa::{CallConv, TargetFrontendConfig},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranevm_passes::{
    PassSet,
    analysis::{
        head_plans::{HeadPlan, HeadPlans},
        regions::{Kind, Regions},
    },
    ir::{
        entities::{Block, Chunk, Inst, Value},
        implementation::Implementation,
        opcode::Opcode,
        program::Program,
        verify::{Access, VerifyError, plan_of, verify_bounds, verify_charges, verify_reach},
    },
};
use gas::Exits;
use regions::Known;
use shared::Shared;
use state::{BlockState, Content};

/// Bytes of a stack word.
const STACK_WORD: i32 = 32;

/// Flags of accesses to words that are always there: the context, the stack, the tables.
fn trusted() -> MemFlagsData {
    MemFlagsData::trusted()
}

/// Flags of accesses to bytes that are there, at any address: EVM memory, calldata, addresses.
fn unaligned() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Reusable allocations of the translator.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) builder: FunctionBuilderContext,
    /// What chaos did to the chunk that was translated last.
    pub(crate) decisions: Vec<Decision>,
    state: BlockState,
}

/// The signature of a chunk: `(stack top, gas, entry ordinal) -> status`. The context is in the
/// pinned register.
pub(crate) fn chunk_signature() -> ir::Signature {
    let mut signature = ir::Signature::new(CallConv::Tail);
    signature.params = [types::I64, types::I64, types::I32].map(AbiParam::new).to_vec();
    signature.returns.push(AbiParam::new(types::I64));
    signature
}

/// Translates one chunk into `func`, which is empty but for its name. With `marks`, each
/// instruction's pc is its source location.
///
/// # Errors
/// A block whose head has no plan. If the options ask for verification, also what was charged for
/// or left unchecked without reason.
pub(crate) fn translate_chunk(
    program: &Program,
    chunk: Chunk,
    options: &CompilerOptions,
    marks: bool,
    target: TargetFrontendConfig,
    func: &mut ir::Function,
    scratch: &mut Scratch,
) -> Result<(), VerifyError> {
    func.signature = chunk_signature();
    let mut dice = chaos::dice(program, chunk, options.chaos);
    let regions = chaos::find_regions(program, chunk, dice.as_deref_mut());
    let plans = HeadPlans::of(program, chunk, &regions);
    let blocks = program.chunks[chunk].blocks.len();
    let mut builder = FunctionBuilder::new(func, &mut scratch.builder);
    let head = builder.create_block();
    builder.append_block_params_for_function_params(head);
    builder.switch_to_block(head);
    let mut translator = Translator {
        program,
        chunk,
        counts_blocks: options.force_hand_over.is_some(),
        marks,
        asserts: options.debug_assertions,
        checked_words: Default::default(),
        pc: 0,
        keeps_dead_stores: options.skipped_passes().contains(PassSet::DEAD_STORES),
        default_call_conv: target.default_call_conv,
        b: builder,
        regions,
        initial_memory: program.initial_memory().into(),
        blocks: vec![None; blocks],
        headers: vec![None; blocks],
        repeats: vec![false; blocks],
        known: vec![Known::default(); blocks],
        leader_stack: None,
        current: 0,
        plan: HeadPlan::default(),
        plans,
        accesses: Vec::new(),
        links: Vec::new(),
        exits: Exits::default(),
        signatures: [None; Signature::COUNT],
        tail_signature: None,
        state: std::mem::take(&mut scratch.state),
        pending_stores: Vec::new(),
        pending_edges: Vec::new(),
        dice,
        shared: Shared::default(),
        zero_constant: None,
        current_block: Block::from_u32(0),
    };
    let done = translator.run(head);
    let dice = translator.dice.take();
    scratch.decisions = dice.map_or_else(Vec::new, |dice| dice.into_done());
    scratch.state = std::mem::take(&mut translator.state);
    let Translator { mut b, plans, regions, mut accesses, .. } = translator;
    if let Err(error) = done {
        // It is left in the midst of a function.
        scratch.builder = FunctionBuilderContext::new();
        return Err(error);
    }
    b.seal_all_blocks();
    b.finalize(target);
    if options.verify {
        // Regions are translated in an order of their own.
        accesses.sort_unstable_by_key(|access| access.inst);
        verify_charges(program, chunk, &plans)?;
        verify_bounds(program, chunk, &regions, &plans)?;
        verify_reach(program, chunk, &accesses, program.initial_memory())?;
    }
    Ok(())
}

/// The translation of one chunk.
struct Translator<'a, 'f> {
    program: &'a Program,
    chunk: Chunk,
    /// Whether blocks count down the context's budget.
    counts_blocks: bool,
    /// Whether instructions have source locations.
    marks: bool,
    /// Whether blocks check what they rely on.
    asserts: bool,
    checked_words: assertions::CheckedWords,
    /// The pc of what is translated.
    pc: u32,
    /// Whether stack words that nobody reads are stored.
    keeps_dead_stores: bool,
    default_call_conv: CallConv,
    b: FunctionBuilder<'f>,
    regions: Regions,
    /// Bytes of memory that there are in all blocks but the contract's first:
    /// [`Program::initial_memory`].
    initial_memory: u64,
    /// Cranelift's block of each of the chunk's basic blocks that are translated.
    blocks: Vec<Option<ir::Block>>,
    /// By block: what the edges to it agree on.
    known: Vec<Known>,
    /// The stack pointer at the start of the current region's leader.
    leader_stack: Option<ir::Value>,
    /// By block, as `blocks`: the loop headers.
    headers: Vec<Option<loops::LoopHeader>>,
    /// By block: whether it goes back to its region's header with the same height of the stack.
    repeats: Vec<bool>,
    /// The block being translated.
    current_block: Block,
    /// Its position in the chunk.
    current: usize,
    /// What its head does.
    plan: HeadPlan,
    /// By block: what its head does.
    plans: HeadPlans,
    /// Accesses to memory at constant offsets.
    accesses: Vec<Access>,
    /// Blocks still to be emitted that go on in another chunk.
    links: Vec<control::Link>,
    exits: Exits,
    signatures: [Option<ir::SigRef>; Signature::COUNT],
    tail_signature: Option<ir::SigRef>,
    state: BlockState,
    pending_stores: Vec<(i16, Value, Content)>,
    /// What is done to the translation at random.
    dice: Option<Box<Dice>>,
    shared: Shared,
    /// Half a word of zeros.
    zero_constant: Option<ir::Constant>,
    pending_edges: Vec<(ir::Block, control::Edge, ir::Value)>,
}

impl Translator<'_, '_> {
    /// Translates the whole chunk; `head` is the function's first block.
    fn run(&mut self, head: ir::Block) -> Result<(), VerifyError> {
        for index in 0..self.regions.order.len() {
            let index = self.regions.order[index] as usize;
            self.blocks[index] = Some(self.make_block(self.regions.places[index].kind));
        }
        let &[stack, gas, ordinal] = self.b.block_params(head) else {
            unreachable!("a chunk has three parameters")
        };
        let enter = self.emit_entry(stack, gas, ordinal);
        self.find_loops();
        for index in 0..self.regions.order.len() {
            self.translate_block(self.block_at(self.regions.order[index]))?;
        }
        self.emit_links();
        self.emit_jump(enter);
        self.emit_exits();
        Ok(())
    }

    /// Makes the Cranelift block of a basic block: the stack's top is a parameter of leaders, the
    /// gas where edges meet.
    fn make_block(&mut self, kind: Kind) -> ir::Block {
        let block = self.b.create_block();
        let params = match kind {
            Kind::Leader => 2,
            Kind::Merge => 1,
            Kind::Single(_) | Kind::Absent => 0,
        };
        for _ in 0..params {
            self.b.append_block_param(block, types::I64);
        }
        block
    }

    fn translate_block(&mut self, block: Block) -> Result<(), VerifyError> {
        self.current = self.index_of(block);
        self.plan = plan_of(self.program, &self.plans, block)?;
        let clif = self.clif_block(block);
        let header = self.headers[self.current].take();
        let bounds = self.plan.bounds;
        let kind = self.kind(block);
        if kind == Kind::Leader || header.is_none() {
            self.b.switch_to_block(clif);
        }
        if kind == Kind::Leader {
            self.start_region(block, clif);
            // Before a loop: the bounds hold in all its rounds.
            self.check_stack(block, if header.is_some() { bounds } else { None });
        } else {
            self.start_inside(block);
            if let &[gas] = self.b.block_params(clif) {
                self.state.gas = Some(gas);
            }
        }
        if let Some(header) = &header {
            self.enter_loop(header, kind == Kind::Leader);
        }
        let bounds = if kind == Kind::Leader && header.is_none() { bounds } else { None };
        self.headers[self.current] = header;
        self.mark(self.program.blocks[block].pc);
        self.begin_chaos(block);
        self.disturb_edge();
        self.begin_block(block);
        self.assert_invariants(block);
        self.emit_head(block, bounds);
        let last = self.last_of_terminator(block);
        for inst in self.program.block_insts(block) {
            self.mark(self.program.insts[inst].pc);
            self.disturb(self.program.insts[inst].pc);
            if Some(inst) != last {
                self.instruction(inst);
            }
        }
        self.terminate(block);
        Ok(())
    }

    /// Starts a leader: nothing is known but how far memory reaches at least.
    fn start_region(&mut self, block: Block, clif: ir::Block) {
        let &[stack, gas] = self.b.block_params(clif) else {
            unreachable!("a leader has two parameters")
        };
        self.leader_stack = Some(stack);
        let state = &mut self.state;
        state.height = 0;
        state.gas = Some(gas);
        state.carried.clear();
        state.unwritten.clear();
        let is_start = block == Block::from_u32(0);
        state.known_memory = if is_start { 0 } else { self.initial_memory };
    }

    /// Sets the source location of what follows.
    fn mark(&mut self, pc: u32) {
        self.pc = pc;
        if self.marks {
            self.b.set_srcloc(ir::SourceLoc::new(pc));
        }
    }

    fn clif_block(&self, block: Block) -> ir::Block {
        self.blocks[self.index_of(block)].expect("only blocks that are reached are gone to")
    }

    /// Does an instruction as the opcode table says.
    fn instruction(&mut self, inst: Inst) {
        let opcode = self.program.insts[inst].opcode;
        match opcode.implementation() {
            Implementation::Native => self.native(inst, opcode),
            Implementation::Words => self.words(inst, opcode),
            Implementation::Memory => self.access_memory(inst, opcode),
            Implementation::Charged => self.call_charged(inst, Builtin::of(opcode)),
            Implementation::Delegated => self.call_charged(inst, Builtin::Delegate),
            other => unreachable!("{opcode} is no instruction within a block: {other}"),
        }
    }

    fn native(&mut self, inst: Inst, opcode: Opcode) {
        match computation(opcode) {
            Some(Computation::Unary(op)) => self.unary(inst, op),
            Some(Computation::Binary(op)) => self.binary(inst, op),
            _ if opcode == Opcode::CALLDATALOAD => self.calldataload(inst),
            _ => self.environment(inst),
        }
    }

    /// Natively, where a constant operand allows it, else by a builtin.
    fn words(&mut self, inst: Inst, opcode: Opcode) {
        match computation(opcode) {
            Some(Computation::ByConstant(op)) => self.by_constant(inst, op),
            _ if matches!(opcode, Opcode::DIV | Opcode::MOD) => self.division(inst),
            _ => self.call_words(inst),
        }
    }

    fn access_memory(&mut self, inst: Inst, opcode: Opcode) {
        match opcode {
            Opcode::MLOAD => self.mload(inst),
            Opcode::MSTORE => self.mstore(inst),
            Opcode::MSTORE8 => self.mstore8(inst),
            _ => unreachable!("{opcode} isn't an access to memory"),
        }
    }

    /// The result of an instruction, unless nobody uses it.
    fn wanted(&self, inst: Inst) -> Option<Value> {
        self.program.insts[inst].result.expand().filter(|&value| !self.is_unused(value))
    }

    fn unary(&mut self, inst: Inst, op: impl FnOnce(Word, &mut FunctionBuilder<'_>) -> Word) {
        let args = self.program.args(inst);
        let word = self.use_word(args[0]);
        if let Some(result) = self.wanted(inst) {
            let word = op(word, &mut self.b);
            self.define(result, word);
        }
    }

    fn binary(
        &mut self,
        inst: Inst,
        op: impl FnOnce(Word, Word, &mut FunctionBuilder<'_>) -> Word,
    ) {
        let args = self.program.args(inst);
        let (x, y) = (self.use_word(args[0]), self.use_word(args[1]));
        if let Some(result) = self.wanted(inst) {
            let word = op(x, y, &mut self.b);
            self.define(result, word);
        }
    }
}
