//! Puts a contract together from stencils.
//!
//! One walk over the instructions. What is known on the way is where the top word is, and constants
//! that were pushed and aren't anywhere yet. At the begin of each block all words are on the stack.
//!
//! Gas is taken where it has to be exact: at a block's head for all up to the first instruction
//! that charges by its operands or tells the gas, and behind each of these for what follows up to
//! the next. Only the head looks whether it was there; the others may leave less than nothing,
//! which whoever charges next finds, or who leaves the frame. So no stencil needs to know what was
//! charged ahead.

use super::{
    blocks::{bounds, gas_until_settled, settles},
    key::{Action, Leave, Size, Top, tops_of},
    layout::{Layout, Target},
    loops::Loops,
    machine::TooFar,
    set::{Number, StencilSet},
    stack::{MOST_CONSTANTS, constant},
};
use crate::{
    Reached,
    compiled::{CompiledCode, CompiledEntry},
};
use cranevm_passes::{
    AnalysisError, MAX_ENTRIES,
    chains::decode_chains,
    decode::{Form, Instruction, JumpDests, decode, opcodes_of},
    ir::opcode::{Opcode, OpcodeSet, gas_table},
};
use revm_interpreter::interpreter::STACK_LIMIT;
use revm_primitives::{U256, hardfork::SpecId};

/// Longest stencil with holes that is copied in place of passing the number in a register.
const MOST_WITH_HOLE: usize = 32;

/// What to assemble for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) spec_id: SpecId,
    /// Opcodes that are left to the interpreter.
    pub(crate) foreign: OpcodeSet,
    /// Whether blocks count down the context's budget.
    pub(crate) counts_blocks: bool,
    /// Whether blocks check what they take for granted.
    pub(crate) asserts: bool,
    /// Longest stencil that is copied if it can be called, in bytes.
    pub(crate) most_copied: usize,
    /// The same in loops.
    pub(crate) most_copied_in_loops: usize,
}

/// A contract's machine code.
#[derive(Clone, Debug)]
pub(crate) struct Assembled {
    pub(crate) code: Vec<u8>,
    pub(crate) entries: Vec<CompiledEntry>,
    /// Opcodes that code was made for, unreachable ones included.
    pub(crate) instructions: u32,
    /// The set of them that isn't left to the interpreter.
    pub(crate) opcodes: OpcodeSet,
    /// Basic blocks that code was made for.
    pub(crate) blocks: u32,
}

/// What is to be assembled of a contract.
struct Plan {
    instructions: Vec<Instruction>,
    /// Where each chain of blocks ends among these.
    ends: Vec<usize>,
    jumpdests: JumpDests,
    opcodes: OpcodeSet,
}

impl Plan {
    fn of(code: &[u8], reached: Option<&Reached>, settings: Settings) -> Self {
        let Settings { spec_id, foreign, .. } = settings;
        let Some(reached) = reached else {
            let decoded = decode(code, spec_id, foreign);
            let (instructions, jumpdests) = (decoded.instructions, decoded.jumpdests);
            let (ends, opcodes) = (vec![instructions.len()], opcodes_of(&instructions));
            return Self { instructions, ends, jumpdests, opcodes };
        };
        let is_chosen = |pc| reached.contains(pc);
        let chains = decode_chains(code, spec_id, foreign, reached.heads(), is_chosen);
        let opcodes = opcodes_of(&chains.instructions);
        let jumpdests = JumpDests::new(reached.jumpdests(code).to_vec());
        Self { instructions: chains.instructions, ends: chains.ends, jumpdests, opcodes }
    }
}

/// Assembles a contract of at most [`MAX_CODE_LEN`](cranevm_passes::MAX_CODE_LEN) bytes: whole, or
/// what was reached of it.
///
/// # Errors
/// If frames could come in at more places than there are ordinals for, or a branch doesn't reach.
pub(crate) fn assemble(
    set: &StencilSet,
    code: &[u8],
    reached: Option<&Reached>,
    settings: Settings,
) -> Result<Assembled, AssembleError> {
    // Nothing is one block.
    let reached = reached.filter(|_| !code.is_empty());
    let plan = Plan::of(code, reached, settings);
    let Plan { instructions, jumpdests, .. } = &plan;
    let bytes = reached.map_or(code.len(), Reached::bytes);
    if reached.is_none() {
        check_entries(jumpdests.len())?;
    }
    let mut assembler = Assembler {
        set,
        bytecode: code,
        jumpdests,
        reached,
        prices: gas_table(settings.spec_id),
        settings,
        layout: Layout::new(set, bytes, jumpdests.len()),
        loops: Loops::of(code.len(), instructions, jumpdests, |at| {
            constant(code, &instructions[at])
        }),
        entries: Vec::new(),
        blocks: 0,
        top: Top::Memory,
        constants: Vec::with_capacity(MOST_CONSTANTS),
        drops: 0,
        negates: false,
    };
    let mut begin = 0;
    for &end in &plan.ends {
        assembler.chain(&instructions[begin..end]);
        begin = end;
    }
    let Assembler { layout, mut entries, blocks, .. } = assembler;
    check_entries(entries.len())?;
    if !entries.is_sorted_by_key(|entry| entry.pc) {
        // Entry points are numbered in order of pc.
        entries.sort_unstable_by_key(|entry| entry.pc);
    }
    let (opcodes, instructions) = (plan.opcodes, plan.instructions.len() as u32);
    let code = layout.finish(code.len() as u32)?;
    Ok(Assembled { code, entries, instructions, opcodes, blocks })
}

/// Why a contract can't be put together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssembleError {
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    #[error(transparent)]
    TooFar(#[from] TooFar),
}

fn check_entries(found: usize) -> Result<(), AnalysisError> {
    let limit = MAX_ENTRIES;
    if found <= limit { Ok(()) } else { Err(AnalysisError::TooManyEntries { found, limit }) }
}

pub(super) struct Assembler<'a> {
    pub(super) set: &'a StencilSet,
    pub(super) bytecode: &'a [u8],
    jumpdests: &'a JumpDests,
    /// The blocks that code is made for, if not for all.
    reached: Option<&'a Reached>,
    prices: &'static [u16; 256],
    settings: Settings,
    pub(super) layout: Layout<'a>,
    loops: Loops,
    entries: Vec<CompiledEntry>,
    blocks: u32,
    /// Where the topmost word is that isn't one of `constants`.
    pub(super) top: Top,
    /// What was pushed last, and isn't in registers or on the stack yet.
    pub(super) constants: Vec<U256>,
    /// Words that were dropped, and that the stack pointer is still above.
    pub(super) drops: u8,
    /// Whether the condition of the next branch is negated.
    negates: bool,
}

/// Instructions of the block that these begin with.
fn block_len(instructions: &[Instruction]) -> usize {
    let ends_at = |(at, instruction): (usize, &Instruction)| {
        if at > 0 && instruction.is_jumpdest() {
            return Some(at);
        }
        instruction.form.ends_block().then_some(at + 1)
    };
    instructions.iter().enumerate().find_map(ends_at).unwrap_or(instructions.len())
}

/// How a block is come to from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Not at all.
    None,
    /// From outside alone.
    Outside,
    /// By the untaken branch alone: what its run needs was checked.
    Untaken,
    /// Without a branch.
    Falls,
}

impl Assembler<'_> {
    /// Assembles blocks each of which control may fall into from the one before. The first is one
    /// that frames come in at.
    fn chain(&mut self, instructions: &[Instruction]) {
        let is_outside = |first: &Instruction| first.pc == 0 || !first.is_jumpdest();
        let begins = instructions.first().is_none_or(is_outside);
        let (mut at, mut way) = (0, if begins { Way::Outside } else { Way::None });
        while at < instructions.len() {
            let is_jumpdest = instructions[at].is_jumpdest();
            if way == Way::None && !is_jumpdest {
                at += 1;
                continue;
            }
            let rest = &instructions[at..];
            let len = block_len(rest);
            self.head(rest, way);
            self.body(&rest[..len]);
            way = match rest[len - 1].form {
                Form::Suspend | Form::Foreign => Way::Outside,
                Form::Branch => Way::Untaken,
                form if form.ends_block() => Way::None,
                _ => Way::Falls,
            };
            at += len;
            if way == Way::Falls {
                self.settle();
            }
        }
        self.end_chain(way, instructions.last().map_or(0, Instruction::end));
    }

    /// Goes on at a pc where there are no more instructions: of the contract, or of what is
    /// compiled of it in one go.
    fn end_chain(&mut self, way: Way, end: u32) {
        if (end as usize) < self.bytecode.len() {
            match self.label_of(end as usize) {
                _ if way == Way::None => {}
                Some(label) => self.layout.jump(label),
                None => self.leave_at(Leave::Absent, end),
            }
            return;
        }
        // A foreign PUSH may end beyond the code, where no frame goes on.
        if way == Way::Outside && end as usize <= self.bytecode.len() {
            self.enter_here(end, false, true);
        }
        if way != Way::None {
            // The interpreter goes on with a STOP there.
            self.settle();
            self.leave_at(Leave::Stop, end + 1);
        }
    }

    /// Begins a block.
    fn head(&mut self, rest: &[Instruction], way: Way) {
        let first = &rest[0];
        self.blocks += 1;
        let in_loop = self.loops.contain(first.pc);
        let Settings { most_copied, most_copied_in_loops, .. } = self.settings;
        self.layout.most_copied = if in_loop { most_copied_in_loops } else { most_copied };
        debug_assert!(self.constants.is_empty() && self.top == Top::Memory);
        self.flush_drops();
        let is_jumpdest = first.is_jumpdest();
        if is_jumpdest || way == Way::Outside {
            self.enter_here(first.pc, is_jumpdest, way == Way::Outside);
            if let Some(number) = self.jumpdests.number(first.pc as usize) {
                self.layout.label(number);
            }
        }
        let place = [i64::from(first.pc), self.bytecode.len() as i64];
        if self.settings.counts_blocks {
            self.put_checked(Action::CountBlock, [0; 2], first.pc);
        }
        if self.settings.asserts {
            self.put(Action::Assert, place);
        }
        if is_jumpdest || way != Way::Untaken {
            self.check_stack(rest, way);
        }
        let gas = gas_until_settled(rest, self.prices);
        if gas > 0 {
            self.put(Action::Pay(Size::of(gas)), [gas as i64, 0]);
        }
    }

    /// Frames may come in here.
    fn enter_here(&mut self, pc: u32, is_jumpdest: bool, is_continuation: bool) {
        let (function, offset) = (CompiledCode::function_of(0), self.layout.here());
        let entry = CompiledEntry { pc, function, offset, is_jumpdest, is_continuation };
        self.entries.push(entry);
    }

    /// Where only a resumed frame comes in, in few bytes; else quickly.
    fn check_stack(&mut self, rest: &[Instruction], way: Way) {
        const WORD: i64 = 32;
        let limit = STACK_LIMIT as i64;
        let bounds = bounds(rest);
        let (lowest, highest) = (bounds.needed, limit - bounds.growth);
        let pc = rest[0].pc;
        if lowest > highest {
            self.leave_at(Leave::HandOver, pc);
        } else if way == Way::Outside && !rest[0].is_jumpdest() && (lowest > 0 || highest < limit) {
            let packed = lowest as u64 | (highest as u64) << 16 | u64::from(pc) << 32;
            self.put_constant(U256::from(packed));
            self.put(Action::CheckHere, [0; 2]);
        } else if lowest == 0 && highest < limit {
            self.put_checked(Action::CheckRoom, [highest * WORD, 0], pc);
        } else if lowest > 0 && highest == limit {
            self.put_checked(Action::CheckDepth, [lowest * WORD, 0], pc);
        } else if lowest > 0 {
            let numbers = [lowest * WORD, (highest - lowest) * WORD];
            self.put_checked(Action::CheckStack, numbers, pc);
        }
    }

    fn body(&mut self, block: &[Instruction]) {
        let mut is_done = false;
        for (at, instruction) in block.iter().enumerate() {
            let rest = &block[at + 1..];
            if std::mem::take(&mut is_done) {
                continue;
            }
            if self.is_negation(instruction, rest) {
                self.negates = true;
                continue;
            }
            let next = rest.first().map(|next| next.form);
            if let (Form::Exchange(upper, lower), Some(Form::Pop)) = (instruction.form, next)
                && self.replace(upper.into(), lower.into())
            {
                is_done = true;
                continue;
            }
            self.instruction(instruction);
            if settles(instruction) && !instruction.form.ends_block() {
                let gas = gas_until_settled(rest, self.prices);
                if gas > 0 {
                    self.put_charge(gas);
                }
            }
        }
    }

    /// Whether an instruction is ISZERO of a condition that is branched on right away.
    fn is_negation(&self, instruction: &Instruction, rest: &[Instruction]) -> bool {
        let forms = (rest.first().map(|next| next.form), rest.get(1).map(|next| next.form));
        instruction.opcode == Opcode::ISZERO
            && matches!(instruction.form, Form::Compute)
            && self.constants.is_empty()
            && forms == (Some(Form::Push), Some(Form::Branch))
    }

    fn instruction(&mut self, instruction: &Instruction) {
        match instruction.form {
            Form::JumpDest => {}
            Form::Push => self.push(instruction),
            Form::Pop => self.pop(),
            Form::Dup(depth) => self.dup(depth.into()),
            Form::Exchange(upper, lower) => self.exchange(upper.into(), lower.into()),
            Form::Compute => self.compute(instruction.opcode),
            Form::Jump => self.jump(),
            Form::Branch => self.branch(),
            Form::Stop => {
                self.settle();
                self.leave_at(Leave::Stop, instruction.pc + 1);
            }
            Form::Exit | Form::Suspend => {
                self.settle();
                self.put_constant(U256::from(instruction.pc + 1));
                self.put(Action::Opcode(instruction.opcode), [0; 2]);
            }
            Form::HandOver | Form::Foreign => {
                self.settle();
                self.leave_at(Leave::HandOver, instruction.pc);
            }
        }
    }

    fn compute(&mut self, opcode: Opcode) {
        let inputs = opcode.info().map_or(0, |info| usize::from(info.inputs));
        if self.fold(opcode, inputs) || self.with_constant(opcode) {
            return;
        }
        self.flush_constants();
        let tops = tops_of(opcode);
        if !tops.contains(&self.top) {
            self.settle();
        }
        self.put(Action::Opcode(opcode), [0; 2]);
    }

    /// Takes the stencil for an opcode whose first operand is the only constant, if there is one.
    fn with_constant(&mut self, opcode: Opcode) -> bool {
        let &[constant] = &self.constants[..] else { return false };
        let top = self.top;
        let small = u32::try_from(constant).ok().filter(|&small| small < 1 << 31);
        let limb = u64::try_from(constant).ok();
        let is_short = |number: &Number| self.set.stencil(*number).code.len() <= MOST_WITH_HOLE;
        let exact = self.set.find_exact(opcode, constant, top);
        let with_small =
            || small.and_then(|_| self.set.find(Action::WithSmall(opcode), top)).filter(is_short);
        let with_limb =
            || limb.and_then(|_| self.set.find(Action::WithLimb(opcode), top)).filter(is_short);
        let Some(number) = exact.or_else(with_small).or_else(with_limb) else { return false };
        self.constants.clear();
        self.put_number(number, [limb.unwrap_or(0).cast_signed(), 0, 0, 0], None);
        true
    }

    fn jump(&mut self) {
        let Some(target) = self.constants.pop() else {
            self.put(Action::FindTarget, [0; 2]);
            self.layout.jump_to_top();
            self.top = Top::Memory;
            return;
        };
        self.settle();
        let target = self.target(target);
        self.layout.jump(target);
    }

    fn branch(&mut self) {
        let negates = std::mem::take(&mut self.negates);
        let Some(target) = self.constants.pop() else {
            self.put(Action::FindTargetIf, [0; 2]);
            self.layout.jump_to_top_if_any();
            self.top = Top::Memory;
            return;
        };
        self.flush_constants();
        if self.top == Top::Memory {
            self.put(Action::Load, [0; 2]);
        }
        let target = self.target(target);
        let number = self.set.find(Action::Branch { if_zero: negates }, self.top);
        self.put_number(self.known(number), [0; 4], Some(target));
    }

    /// Where a jump to a constant leads.
    fn target(&self, pc: U256) -> Target {
        let pc = usize::try_from(pc).ok();
        let number = pc.and_then(|pc| Some((pc, self.jumpdests.number(pc)?)));
        match number {
            Some((pc, number)) => self
                .label_of(pc)
                .unwrap_or(Target::Absent { jumpdest: number as u32, pc: pc as u32 }),
            None => Target::Body(self.known(self.set.leave(Leave::InvalidJump))),
        }
    }

    /// The code of the JUMPDEST at a pc, if there is one and code is made for it.
    fn label_of(&self, pc: usize) -> Option<Target> {
        let number = self.jumpdests.number(pc)?;
        let is_there = self.reached.is_none_or(|reached| reached.contains(pc));
        is_there.then_some(Target::Label(number as u32))
    }

    /// Leaves the frame with a pc. The words are on the stack.
    fn leave_at(&mut self, leave: Leave, pc: u32) {
        self.put_constant(U256::from(pc));
        self.layout.jump(Target::Body(self.known(self.set.leave(leave))));
        self.top = Top::Memory;
    }

    /// Puts a stencil that may refuse its block, whose pc this is.
    fn put_checked(&mut self, action: Action, numbers: [i64; 2], pc: u32) {
        let refused = self.layout.refusal(pc);
        let number = self.known(self.set.find(action, self.top));
        let [first, second] = numbers;
        self.top = self.layout.put(number, [first, second, 0, 0], Some(refused));
    }

    /// Takes gas that may not be there: as if the top word were in registers, wherever it is.
    fn put_charge(&mut self, gas: u64) {
        let number = self.known(self.set.find(Action::Charge(Size::of(gas)), Top::Wide));
        self.layout.put(number, [gas as i64, 0, 0, 0], None);
    }

    pub(super) fn put(&mut self, action: Action, numbers: [i64; 2]) {
        self.flush_drops();
        let number = self.known(self.set.find(action, self.top));
        let [first, second] = numbers;
        self.put_number(number, [first, second, 0, 0], None);
    }

    pub(super) fn put_number(&mut self, number: Number, numbers: [i64; 4], taken: Option<Target>) {
        self.flush_drops();
        self.top = self.layout.put(number, numbers, taken);
    }

    /// A stencil that the list has for sure: all that are asked for so.
    pub(super) fn known(&self, number: Option<Number>) -> Number {
        number.expect("the list of stencils has all that are put")
    }
}
