//! The analysed program as a subject: its meaning, written down once more, and run.
//!
//! The translator turns the passes' program into code; this runs it instead, as literally as can
//! be, so that what the passes believe is tried without Cranelift in between. What one instruction
//! does is what revm's does with the arguments on an otherwise empty stack. The rest is here:
//!
//! - where a frame may come in, and where jumps lead (`enter` and `Run::jump`);
//! - heads: what is checked and charged before a block, in either of two ways (`heads`);
//! - gas: signed, less by what is charged ahead; what charges sees the exact amount, and comes too
//!   late if that is negative (`block`);
//! - values and the stack: inputs are read where they lie, outputs written at the end (`block`).
//!
//! What the passes say of the program is checked on the way: a value is as narrow as its bits say,
//! slots lie within the block's bounds, memory reaches as far as is taken for granted, what is
//! charged elsewhere was. What doesn't hold is [`Exit::Broken`].

mod block;
mod heads;

pub use self::heads::Heads;
use self::heads::Planned;
use super::{
    Subject,
    compare::Exit,
    host::RecordingHost,
    oracle::Oracle,
    state::{Code, Frame},
};
use alloy_primitives::U256;
use cranevm_codegen::Program;
use cranevm_passes::{
    AnalysisError, PassOptions, analyze,
    ir::{
        entities::{Block, Entry, Inst},
        program::{JumpTarget, Terminator},
    },
};
use revm::interpreter::{
    InstructionContext, InstructionResult,
    interpreter::STACK_LIMIT,
    interpreter_types::{Jumps, LoopControl},
};
use std::{cell::RefCell, collections::BTreeMap};

/// Blocks after which a stretch has gone on for too long: each takes gas, or is followed by one
/// that does.
const MAX_BLOCKS: u64 = 10_000_000;

/// An analysed code.
pub struct Analysed {
    program: Program,
    heads: Planned,
    /// Where computed jumps lead: to an entry point, or to the interpreter.
    jumps: BTreeMap<usize, Option<Entry>>,
    /// Where frames begin and resume.
    resumptions: BTreeMap<usize, Entry>,
    scratch: RefCell<Scratch>,
}

/// Buffers of a run.
struct Scratch {
    /// By value: the word, and in which execution of a block it was computed.
    values: Vec<(U256, u64)>,
    /// The stack on which an instruction finds its arguments.
    arguments: Vec<U256>,
    /// Blocks executed so far.
    count: u64,
}

/// What doesn't hold that should.
struct Violation(String);

/// Where to go on.
enum Next {
    Block(Block),
    Leave(Exit),
}

impl Analysed {
    /// Analyses a code.
    ///
    /// # Errors
    /// As [`analyze`].
    pub fn new(code: &Code, options: &PassOptions, heads: Heads) -> Result<Self, AnalysisError> {
        let options = PassOptions { spec_id: code.spec, ..options.clone() };
        let program = analyze(&code.bytes, &options)?;
        let mut jumps: BTreeMap<usize, Option<Entry>> =
            program.absent_targets().map(|block| (block.pc as usize, None)).collect();
        let mut resumptions = BTreeMap::new();
        for (entry, data) in program.entries.iter() {
            if data.is_jumpdest {
                jumps.insert(data.pc as usize, Some(entry));
            }
            if data.is_continuation {
                resumptions.insert(data.pc as usize, entry);
            }
        }
        let scratch = Scratch {
            values: vec![(U256::ZERO, 0); program.values.len()],
            arguments: Vec::with_capacity(STACK_LIMIT),
            count: 0,
        };
        let heads = Planned::new(&program, heads);
        Ok(Self { program, heads, jumps, resumptions, scratch: RefCell::new(scratch) })
    }

    /// The block at which a frame may come in: at the start or at an entry point, with as much
    /// memory as it has paid for and as the first block makes, and gas that can be negated.
    fn enter(&self, frame: &Frame) -> Option<Block> {
        let pc = frame.bytecode.pc();
        let entry = match pc {
            0 => Some(Entry::from_u32(0)),
            _ => self.jumps.get(&pc).copied().flatten().or(self.resumptions.get(&pc).copied()),
        };
        let memory = frame.memory.len();
        let has_memory = pc == 0 || memory >= self.program.initial_memory() as usize;
        let is_paid = frame.gas.memory().words_num * 32 == memory;
        let is_usual = has_memory && is_paid && i64::try_from(frame.gas.remaining()).is_ok();
        Some(self.program.entries[entry.filter(|_| is_usual)?].block)
    }
}

impl Subject for Analysed {
    fn program(&self) -> &Program {
        &self.program
    }

    fn run(&self, oracle: &Oracle, frame: &mut Frame, host: &mut RecordingHost) -> Exit {
        let Some(block) = self.enter(frame) else {
            return Exit::NotEntered;
        };
        let scratch = &mut *self.scratch.borrow_mut();
        let gas = frame.gas.remaining() as i64;
        let Self { program, heads, .. } = self;
        let end = scratch.count + MAX_BLOCKS;
        let mut run =
            Run { subject: self, program, heads, oracle, frame, host, scratch, gas, end, block };
        let mut next = run.heads_in().map(|()| Next::Block(block));
        loop {
            match next {
                Ok(Next::Block(block)) => {
                    run.block = block;
                    next = run.block();
                }
                Ok(Next::Leave(exit)) => return exit,
                Err(Violation(what)) => {
                    let (block, pc) = (run.block, program.blocks[run.block].pc);
                    return Exit::Broken(format!("{block} at pc {pc}: {what}"));
                }
            }
        }
    }
}

/// A stretch.
struct Run<'a> {
    subject: &'a Analysed,
    program: &'a Program,
    heads: &'a Planned,
    oracle: &'a Oracle,
    frame: &'a mut Frame,
    host: &'a mut RecordingHost,
    scratch: &'a mut Scratch,
    /// Gas left, less what is charged ahead.
    gas: i64,
    /// How many blocks may have been executed.
    end: u64,
    /// The block being executed.
    block: Block,
}

impl Run<'_> {
    /// Executes a block, and tells where to go on.
    fn block(&mut self) -> Result<Next, Violation> {
        self.scratch.count += 1;
        ensure(self.scratch.count < self.end, || "it goes on without end".into())?;
        self.check_facts()?;
        if !self.pass_head()? {
            return self.hand_over(self.program.blocks[self.block].pc);
        }
        let height = self.frame.stack.len();
        let last = match self.program.blocks[self.block].terminator {
            Terminator::Exit(inst) | Terminator::Suspend { inst, .. } => Some(inst),
            _ => None,
        };
        for inst in self.program.block_insts(self.block).filter(|&inst| Some(inst) != last) {
            if let Some(exit) = self.instruction(inst, height)? {
                return Ok(Next::Leave(exit));
            }
        }
        self.terminate(height)
    }

    /// What holds at the start of each block.
    fn check_facts(&self) -> Result<(), Violation> {
        let data = &self.program.blocks[self.block];
        ensure(data.is_compiled(), || "it is cold or merged, and was gone to".into())?;
        let memory = self.frame.memory.len();
        let initial = self.program.initial_memory() as usize;
        ensure(self.block.as_u32() == 0 || memory >= initial, || {
            format!("memory has {memory} bytes of {initial} that are taken for granted")
        })?;
        let paid = self.frame.gas.memory().words_num * 32;
        ensure(memory == paid, || format!("memory has {memory} bytes, {paid} are paid for"))
    }

    fn terminate(&mut self, height: usize) -> Result<Next, Violation> {
        let program = self.program;
        match program.blocks[self.block].terminator {
            Terminator::FallThrough(next) => {
                self.write_outputs(height)?;
                self.edge(next)
            }
            Terminator::Jump(target) => {
                let pc = self.target(target, height)?;
                self.write_outputs(height)?;
                self.jump(target, pc)
            }
            Terminator::Branch { condition, target, otherwise } => {
                let is_taken = !self.word(condition, height)?.is_zero();
                let pc = self.target(target, height)?;
                self.write_outputs(height)?;
                if is_taken { self.jump(target, pc) } else { self.edge(otherwise) }
            }
            Terminator::Stop { pc } => {
                self.write_outputs(height)?;
                self.frame.bytecode.absolute_jump(pc as usize + 1);
                Ok(self.end(InstructionResult::Stop))
            }
            Terminator::HandOver { pc, .. } => {
                self.write_outputs(height)?;
                self.hand_over(pc)
            }
            Terminator::Exit(inst) => {
                self.last_instruction(inst, height)?;
                match self.frame.bytecode.action() {
                    Some(_) => Ok(Next::Leave(Exit::Ended)),
                    None => Err(Violation(format!("{inst} doesn't end the frame"))),
                }
            }
            Terminator::Suspend { inst, continuation } => {
                self.last_instruction(inst, height)?;
                match self.frame.bytecode.action() {
                    Some(_) => Ok(Next::Leave(Exit::Ended)),
                    None => self.edge(continuation),
                }
            }
        }
    }

    /// Executes the instruction that ends or suspends the frame, on the stack as it is.
    fn last_instruction(&mut self, inst: Inst, height: usize) -> Result<(), Violation> {
        let data = &self.program.insts[inst];
        let args = self.program.args(inst).iter().map(|&value| self.word(value, height));
        let args = args.collect::<Result<Vec<_>, _>>()?;
        self.write_outputs(height)?;
        let found = self.frame.stack.data().iter().rev().take(args.len());
        ensure(found.eq(args.iter()), || format!("the arguments of {inst} aren't on the stack"))?;
        ensure(self.gas_after(inst) == 0, || format!("gas is charged ahead at {inst}"))?;
        self.frame.bytecode.absolute_jump(data.pc as usize + 1);
        let Ok(exact) = u64::try_from(self.gas) else {
            self.end(InstructionResult::OutOfGas);
            return Ok(());
        };
        self.frame.gas.set_remaining(exact);
        let instruction = self.oracle.instructions()[usize::from(data.opcode.get())];
        let context = InstructionContext { interpreter: &mut *self.frame, host: &mut *self.host };
        if let Err(result) = instruction.execute(context)
            && self.frame.bytecode.action().is_none()
        {
            self.frame.halt(result);
        }
        self.gas = self.frame.gas.remaining() as i64;
        Ok(())
    }

    /// The word that is jumped to, if it is computed.
    fn target(&mut self, target: JumpTarget, height: usize) -> Result<U256, Violation> {
        match target {
            JumpTarget::Dynamic(value) => self.word(value, height),
            JumpTarget::Block(_) | JumpTarget::Invalid => Ok(U256::ZERO),
        }
    }

    /// Jumps: `pc` is where, if the target is computed.
    fn jump(&mut self, target: JumpTarget, pc: U256) -> Result<Next, Violation> {
        if let JumpTarget::Block(to) = target {
            return self.edge(to);
        }
        self.gas += self.heads.charged_ahead(self.program, self.block);
        let known = match target {
            JumpTarget::Dynamic(_) => {
                usize::try_from(pc).ok().and_then(|pc| self.subject.jumps.get(&pc))
            }
            _ => None,
        };
        match known {
            Some(Some(entry)) => Ok(Next::Block(self.program.entries[*entry].block)),
            Some(None) => self.hand_over(pc.to()),
            None => Ok(self.end(InstructionResult::InvalidJump)),
        }
    }

    /// Goes to a known block.
    fn edge(&mut self, to: Block) -> Result<Next, Violation> {
        self.gas += self.heads.excess(self.program, self.block, to);
        let [from, data] = [self.block, to].map(|block| &self.program.blocks[block]);
        if data.is_cold {
            return self.hand_over(data.pc);
        }
        let is_there = from.chunk == data.chunk || data.entry.is_some();
        ensure(is_there, || format!("{to} is in another chunk, and has no entry point"))?;
        self.heads_from(to)?;
        Ok(Next::Block(to))
    }

    /// Hands over at a pc; a frame that owes gas has run out of it.
    fn hand_over(&mut self, pc: u32) -> Result<Next, Violation> {
        self.frame.bytecode.absolute_jump(pc as usize);
        let Ok(gas) = u64::try_from(self.gas) else {
            return Ok(self.end(InstructionResult::OutOfGas));
        };
        self.frame.gas.set_remaining(gas);
        Ok(Next::Leave(Exit::HandedOver))
    }

    /// Ends the frame; one that owes gas has run out of it.
    fn end(&mut self, result: InstructionResult) -> Next {
        let owes = self.gas < 0;
        self.frame.gas.set_remaining(u64::try_from(self.gas).unwrap_or(0));
        self.frame.halt(if owes { InstructionResult::OutOfGas } else { result });
        Next::Leave(Exit::Ended)
    }
}

/// Fails with what is wrong unless `holds`.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(what())) }
}
