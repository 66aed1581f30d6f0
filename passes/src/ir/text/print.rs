//! Program to text.

use crate::ir::entities::{Block, Inst, Value};
use crate::ir::program::{BlockData, JumpTarget, Program, Terminator, ValueDef};
use crate::ir::width::WORD_BITS;
use core::fmt::{self, Display, Formatter};

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { spec_id, code_len, opcode_count, .. } = self;
        writeln!(f, "program spec={spec_id:?} code={code_len} opcodes={opcode_count}")?;
        self.print_chunks(f)?;
        let mut printer = BlockPrinter { program: self, next_value: 0 };
        for (block, data) in self.blocks.iter() {
            printer.print(f, block, data)?;
        }
        Ok(())
    }
}

impl Program {
    fn print_chunks(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (chunk, data) in self.chunks.iter() {
            writeln!(f, "\nchunk {chunk} opcodes={}", data.opcodes)?;
            let span = data.entries.start as usize..data.entries.end as usize;
            for (entry, data) in self.entries.iter().take(span.end).skip(span.start) {
                write!(f, "  entry {entry} {} pc={}", data.block, data.pc)?;
                f.write_str(if data.is_jumpdest { " jumpdest" } else { "" })?;
                f.write_str(if data.is_continuation { " continuation" } else { "" })?;
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

struct BlockPrinter<'a> {
    program: &'a Program,
    /// Values before this one are printed.
    next_value: u32,
}

impl BlockPrinter<'_> {
    fn print(&mut self, f: &mut Formatter<'_>, block: Block, data: &BlockData) -> fmt::Result {
        write!(f, "\nblock {block} pc={}..{} chunk={}", data.pc, data.end_pc, data.chunk)?;
        if let Some(entry) = data.entry.expand() {
            write!(f, " entry={entry}")?;
        }
        f.write_str(if data.is_jumpdest { " jumpdest" } else { "" })?;
        f.write_str(if data.is_clone { " clone" } else { "" })?;
        f.write_str(if data.is_cold { " cold" } else { "" })?;
        if let Some(goal) = data.merged_into.expand() {
            write!(f, " merged-into={goal}")?;
        }
        writeln!(f)?;
        let stack = data.stack;
        let (needed, growth, delta) = (stack.needed, stack.growth, stack.delta);
        writeln!(f, "  stack needed={needed} growth={growth} delta={delta}")?;
        writeln!(f, "  gas {}", data.gas)?;
        for inst in self.program.block_insts(block) {
            self.print_inst(f, inst)?;
        }
        for output in self.program.outputs(block) {
            self.define_up_to(f, output.value)?;
        }
        for value in data.terminator.values() {
            self.define_up_to(f, value)?;
        }
        self.define_unused(f)?;
        for output in self.program.outputs(block) {
            writeln!(f, "  output {} {}", output.slot, output.value)?;
        }
        if !data.likely_targets.is_empty() {
            f.write_str("  likely")?;
            for target in self.program.likely_targets(block) {
                write!(f, " {target}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "  {}", data.terminator)
    }

    fn print_inst(&mut self, f: &mut Formatter<'_>, inst: Inst) -> fmt::Result {
        let data = &self.program.insts[inst];
        for &arg in self.program.args(inst) {
            self.define_up_to(f, arg)?;
        }
        if let Some(result) = data.result.expand() {
            self.define_up_to(f, result)?;
        }
        write!(f, "  {inst} pc={} height={} after={}: ", data.pc, data.height, data.gas_after)?;
        if let Some(result) = data.result.expand() {
            write!(f, "{} = ", self.typed(result))?;
        }
        write!(f, "{}", data.opcode)?;
        for (index, arg) in self.program.args(inst).iter().enumerate() {
            write!(f, "{} {arg}", if index == 0 { "" } else { "," })?;
        }
        writeln!(f)
    }

    /// Prints the definitions of all values up to this one that aren't printed yet.
    fn define_up_to(&mut self, f: &mut Formatter<'_>, value: Value) -> fmt::Result {
        let end = self.program.values.len() as u32;
        while self.next_value <= value.as_u32() && self.next_value < end {
            self.define_next(f)?;
        }
        Ok(())
    }

    /// Prints the unused values that come next; most likely they belong to this block.
    fn define_unused(&mut self, f: &mut Formatter<'_>) -> fmt::Result {
        loop {
            match self.program.values.get(Value::from_u32(self.next_value)) {
                Some(data) if data.uses == 0 && !matches!(data.def, ValueDef::Result(_)) => {
                    self.define_next(f)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// A value as its definition names it: with its bits, if they are bounded.
    fn typed(&self, value: Value) -> Typed {
        Typed(value, self.program.values.get(value).map_or(WORD_BITS, |data| data.bits))
    }

    fn define_next(&mut self, f: &mut Formatter<'_>) -> fmt::Result {
        let value = Value::from_u32(self.next_value);
        self.next_value += 1;
        match self.program.values[value].def {
            ValueDef::Input(slot) => writeln!(f, "  {} = input {slot}", self.typed(value)),
            ValueDef::Const(word) => writeln!(f, "  {value} = const {word:#x}"),
            ValueDef::Unused => writeln!(f, "  {value} = unused"),
            // Printed with its instruction.
            ValueDef::Result(_) => Ok(()),
        }
    }
}

/// A value and its bits.
struct Typed(Value, u16);

impl Display for Typed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(value, bits) = self;
        if *bits < WORD_BITS { write!(f, "{value}:{bits}") } else { write!(f, "{value}") }
    }
}

impl Display for Terminator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::FallThrough(next) => write!(f, "fallthrough {next}"),
            Self::Jump(target) => write!(f, "jump {target}"),
            Self::Branch { condition, target, otherwise } => {
                write!(f, "branch {condition} {target} {otherwise}")
            }
            Self::Stop { pc } => write!(f, "stop {pc}"),
            Self::Exit(inst) => write!(f, "exit {inst}"),
            Self::Suspend { inst, continuation } => write!(f, "suspend {inst} {continuation}"),
            Self::HandOver { pc, continuation } => {
                write!(f, "handover {pc}")?;
                continuation.expand().map_or(Ok(()), |next| write!(f, " {next}"))
            }
        }
    }
}

impl Display for JumpTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(block) => block.fmt(f),
            Self::Dynamic(value) => value.fmt(f),
            Self::Invalid => f.write_str("invalid"),
        }
    }
}
