//! `cranevm explain`: what becomes of each opcode: the passes' IR, Cranelift's IR, machine code.
//!
//! The listing follows the bytecode. Lines of the three forms stand under the opcode they come from
//! (Cranelift keeps the pc as its source location), in columns; what comes from no opcode is under
//! its chunk's heading. Jump tables stand in the machine code behind their jump and are decoded
//! like instructions: they and what follows may look odd up to where the next opcode's code begins.

use super::Opt;
use crate::terminal;
use crate::terminal::say;
use clap::{Args, ValueEnum};
use cranevm_cli::{CommandError, Contract, InputError, spec};
use cranevm_codegen::{
    ChunkListing, Compiler, CompilerOptions, PassSet,
    disassemble::{self, Line, Machine},
};
use cranevm_passes::ir::{
    entities::{Block, Chunk},
    program::{JumpStats, Program},
};
use revm::{bytecode::opcode::OpCode, primitives::hardfork::SpecId};
use std::{collections::BTreeMap, ops::Range};

/// Show what each opcode is compiled to
///
/// Grouped by basic block and opcode: the passes' IR, Cranelift's IR and machine code side by side.
/// Jump tables are shown as if they were instructions; what follows one may look odd up to the next
/// opcode's code.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// Hex, a file (hex, .evm assembly, .json fixture), or the name of a shipped contract
    contract: String,
    /// Only the basic block that contains this pc (decimal or 0x hex)
    #[arg(long, value_parser = parse_pc)]
    pc: Option<u32>,
    /// What to show
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ir,clif,asm")]
    emit: Vec<Emit>,
    /// Fork
    #[arg(long, value_parser = spec::parse, default_value = "Osaka")]
    spec: SpecId,
    /// Optimization level
    #[arg(long, value_enum, default_value_t)]
    opt: Opt,
    /// Passes to leave out, to find the one that a defect comes from: simplify, remove-unused, ...
    #[arg(long, value_name = "PASS", value_delimiter = ',', value_parser = super::parse_pass)]
    skip: Vec<PassSet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// The passes' IR
    Ir,
    /// Cranelift's IR
    Clif,
    /// Machine code
    Asm,
}

fn parse_pc(text: &str) -> Result<u32, String> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|error| error.to_string())
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let failed = |error: &dyn std::fmt::Display| CommandError::Failed(error.to_string());
        let contract = Contract::resolve(&self.contract)?;
        let options = CompilerOptions {
            opt_level: self.opt.level(),
            skip_passes: self.skip.iter().copied().fold(PassSet::NONE, PassSet::union),
            ..Default::default()
        };
        let mut compiler = Compiler::new(options).map_err(|error| failed(&error))?;
        let program =
            compiler.analyze(&contract.code, self.spec).map_err(|error| failed(&error))?;
        let blocks = self.blocks(&program)?;
        let machine = Machine::host().map_err(|error| failed(&error))?;
        let ir = ir_by_pc(&program);
        if self.pc.is_none() {
            let JumpStats { constant, resolved, unresolved } = program.jump_stats();
            say!("jumps: {constant} constant, {resolved} resolved, {unresolved} unresolved");
        }
        for chunk in program.chunks.keys() {
            let shown: Vec<Block> =
                program.chunk_blocks(chunk).filter(|block| blocks.contains(block)).collect();
            if shown.is_empty() {
                continue;
            }
            let listing = compiler.list_chunk(&program, chunk).map_err(|error| failed(&error))?;
            let asm = disassemble::disassemble(machine, &listing.code, 0, &listing.marks)
                .map_err(|error| failed(&error))?;
            let forms = Forms {
                emit: &self.emit,
                ir: &ir,
                clif: clif_by_pc(&listing.clif),
                asm: asm_by_pc(&asm),
            };
            print_chunk_heading(&program, chunk, &listing);
            if self.pc.is_none() {
                forms.print_rows(None);
            }
            for block in shown {
                print_block(&program, block, &contract.code, &forms);
            }
        }
        Ok(())
    }

    /// All blocks, or the one that contains the pc.
    fn blocks(&self, program: &Program) -> Result<Vec<Block>, CommandError> {
        let Some(pc) = self.pc else { return Ok(program.blocks.keys().collect()) };
        let found = program.blocks.iter().find(|(_, data)| (data.pc..data.end_pc).contains(&pc));
        let (block, _) = found.ok_or_else(|| {
            let problem = format!(
                "pc {pc} ({pc:#x}) is in no basic block: the code has {} bytes, and dead code has none",
                program.code_len
            );
            InputError::new("--pc", problem)
        })?;
        Ok(vec![block])
    }
}

/// Lines of one form, by the pc they come from; `None` for those of no opcode.
type ByPc = BTreeMap<Option<u32>, Vec<String>>;

struct Forms<'a> {
    emit: &'a [Emit],
    ir: &'a ByPc,
    clif: ByPc,
    asm: ByPc,
}

/// Width of the columns of the passes' IR and of Cranelift's.
const COLUMNS: [usize; 2] = [34, 58];

impl Forms<'_> {
    /// Prints the lines of one pc side by side. A line that is too long for its column pushes the
    /// others of its row to the right.
    fn print_rows(&self, pc: Option<u32>) {
        let columns: Vec<(Emit, &[String])> =
            [(Emit::Ir, self.ir), (Emit::Clif, &self.clif), (Emit::Asm, &self.asm)]
                .into_iter()
                .filter(|(form, _)| self.emit.contains(form))
                .map(|(form, lines)| (form, lines.get(&pc).map_or(&[][..], Vec::as_slice)))
                .collect();
        let height = columns.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
        for row in 0..height {
            let mut text = String::from("      ");
            for (form, lines) in &columns {
                let cell = lines.get(row).map_or("", String::as_str);
                let width = match form {
                    Emit::Ir => COLUMNS[0],
                    Emit::Clif => COLUMNS[1],
                    Emit::Asm => 0,
                };
                text.push_str(&format!("{cell:<width$} | "));
            }
            say!("{}", text.trim_end_matches([' ', '|']));
        }
    }
}

fn print_chunk_heading(program: &Program, chunk: Chunk, listing: &ChunkListing) {
    let data = &program.chunks[chunk];
    say!(
        "{}",
        terminal::green(format_args!(
            "chunk {chunk}: {} opcodes, {} entry points, {} bytes of code",
            data.opcodes,
            data.entries.end - data.entries.start,
            listing.code.len()
        ))
    );
}

fn print_block(program: &Program, block: Block, code: &[u8], forms: &Forms<'_>) {
    let data = &program.blocks[block];
    let stack = data.stack;
    say!(
        "\n{} pc {:#06x}..{:#06x}, gas {}, stack needs {} grows {} moves {:+}{}{}",
        terminal::green(format_args!("block {block}:")),
        data.pc,
        data.end_pc,
        data.gas,
        stack.needed,
        stack.growth,
        stack.delta,
        data.entry.expand().map_or(String::new(), |entry| format!(", entry point {entry}")),
        data.merged_into.expand().map_or(String::new(), |goal| format!(", merged into {goal}")),
    );
    for (pc, text) in opcodes(code, data.pc..data.end_pc) {
        say!("  {pc:#06x}  {text}");
        forms.print_rows(Some(pc));
    }
    if forms.emit.contains(&Emit::Ir) {
        for output in program.outputs(block) {
            say!("      output {} {}", output.slot, output.value);
        }
        let likely: String =
            program.likely_targets(block).iter().map(|target| format!(" {target}")).collect();
        let likely = if likely.is_empty() { likely } else { format!(", likely to{likely}") };
        say!("      {}{likely}", data.terminator);
    }
}

/// The opcodes of a range of the bytecode with their immediates.
fn opcodes(code: &[u8], range: Range<u32>) -> Vec<(u32, String)> {
    let mut list = Vec::new();
    let mut pc = range.start as usize;
    while pc < range.end as usize {
        let Some(&byte) = code.get(pc) else { break };
        let (name, width) = match OpCode::new(byte) {
            Some(opcode) => {
                (opcode.as_str().to_owned(), usize::from(opcode.info().immediate_size()))
            }
            None => (format!("unknown {byte:#04x}"), 0),
        };
        let end = (pc + 1 + width).min(code.len());
        let immediate: String = code[pc + 1..end].iter().map(|b| format!("{b:02x}")).collect();
        let text = if immediate.is_empty() { name } else { format!("{name} 0x{immediate}") };
        list.push((pc as u32, text));
        pc += 1 + width;
    }
    list
}

/// The passes' IR: an instruction is under its opcode, constants are written into their uses.
fn ir_by_pc(program: &Program) -> ByPc {
    let mut lines = ByPc::new();
    for (inst, data) in program.insts.iter() {
        let arguments: Vec<String> = (program.args(inst).iter())
            .map(|&value| match program.as_const(value) {
                Some(word) => format!("{word:#x}"),
                None => value.to_string(),
            })
            .collect();
        let result = data.result.expand().map_or(String::new(), |value| format!("{value} = "));
        let line = format!("{result}{} {}", data.opcode, arguments.join(", "));
        lines.entry(Some(data.pc)).or_default().push(line.trim_end().to_owned());
    }
    lines
}

/// Lines of Cranelift's text by their source location, which it prints as `@` and hex digits.
fn clif_by_pc(clif: &str) -> ByPc {
    let mut lines = ByPc::new();
    for line in clif.lines() {
        let trimmed = line.trim();
        let located = trimmed.strip_prefix('@').and_then(|rest| {
            let (location, text) = rest.split_once(char::is_whitespace)?;
            Some((u32::from_str_radix(location, 16).ok()?, text.trim_start()))
        });
        match located {
            Some((pc, text)) => lines.entry(Some(pc)).or_default().push(text.to_owned()),
            None if trimmed.is_empty() => {}
            None => lines.entry(None).or_default().push(trimmed.to_owned()),
        }
    }
    lines
}

fn asm_by_pc(asm: &[Line]) -> ByPc {
    let mut lines = ByPc::new();
    for line in asm {
        lines.entry(line.pc).or_default().push(format!("{:5x}: {}", line.offset, line.text));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_end_with_the_code() {
        let list = opcodes(&[0x60, 1, 0x01, 0x0c, 0x61, 2], 0..6);
        let text: Vec<&str> = list.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(text, ["PUSH1 0x01", "ADD", "unknown 0x0c", "PUSH2 0x02"]);
        assert_eq!(list[3].0, 4);
    }

    #[test]
    fn clif_lines_are_sorted_by_source_location() {
        let clif =
            "function u0:0() tail {\nblock0:\n@0003  v1 = iconst.i64 1\n@000a  trap user1\n}";
        let lines = clif_by_pc(clif);
        assert_eq!(lines[&Some(3)], ["v1 = iconst.i64 1"]);
        assert_eq!(lines[&Some(10)], ["trap user1"]);
        assert_eq!(lines[&None].len(), 3);
    }
}
