//! The forms of a program under the opcodes that they come from: the passes' IR, Cranelift's IR and
//! machine code side by side.
//!
//! Cranelift keeps an instruction's pc as its source location. What comes from no opcode is under
//! `None`. Jump tables stand in the machine code behind their jump and are decoded like
//! instructions: they and what follows may look odd up to where the next opcode's code begins.

use crate::{
    ChunkListing,
    disassemble::{DisassembleError, Line, Machine, disassemble},
};
use cranevm_passes::ir::{
    entities::{Block, Chunk},
    opcode::Opcode,
    program::Program,
};
use revm_bytecode::opcode::OpCode;
use std::{collections::BTreeMap, fmt::Write as _, ops::Range};

/// A form of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The passes' IR.
    Ir,
    /// Cranelift's IR.
    Clif,
    /// Machine code.
    Asm,
}

/// Lines of one form, by the pc they come from; `None` for those of no opcode.
pub type ByPc = BTreeMap<Option<u32>, Vec<String>>;

/// What one chunk was translated and compiled to.
#[derive(Clone, Debug, Default)]
pub struct Forms {
    /// Cranelift's IR.
    pub clif: ByPc,
    /// Machine code.
    pub asm: ByPc,
}

impl Forms {
    /// The lines of a chunk's listing by pc.
    ///
    /// # Errors
    /// Without a disassembler for the machine compiled for.
    pub fn of(listing: &ChunkListing) -> Result<Self, DisassembleError> {
        let asm = disassemble(Machine::of(&listing.target)?, &listing.code, 0, &listing.marks)?;
        Ok(Self { clif: clif_by_pc(&listing.clif), asm: asm_by_pc(&asm) })
    }
}

/// Some forms of a program in columns.
#[derive(Debug)]
pub struct Listing<'a> {
    program: &'a Program,
    code: &'a [u8],
    forms: Vec<Form>,
    ir: ByPc,
}

impl<'a> Listing<'a> {
    /// Of the program of `code`.
    pub fn new(program: &'a Program, code: &'a [u8], forms: &[Form]) -> Self {
        Self { program, code, forms: forms.to_vec(), ir: ir_by_pc(program) }
    }

    /// A block's opcodes, and under each its lines in the chosen forms. Ends with a line feed.
    pub fn block(&self, block: Block, forms: &Forms) -> String {
        let data = &self.program.blocks[block];
        let mut text = String::new();
        for (pc, opcode) in opcodes(self.code, data.pc..data.end_pc) {
            // Writing to a string can't fail, here and below.
            let how = Opcode::new(self.code[pc as usize]).implementation();
            let _ = writeln!(text, "  {pc:#06x}  {opcode:<24}  {how}");
            text.push_str(&self.rows(Some(pc), forms));
        }
        if !self.forms.contains(&Form::Ir) {
            return text;
        }
        for output in self.program.outputs(block) {
            let _ = writeln!(text, "      output {} {}", output.slot, output.value);
        }
        let likely = self.program.likely_targets(block);
        let _ = write!(text, "      {}", data.terminator);
        if !likely.is_empty() {
            text.push_str(", likely to");
            text.extend(likely.iter().map(|target| format!(" {target}")));
        }
        text.push('\n');
        text
    }

    /// The lines of one pc side by side. A line that is too long for its column pushes the others
    /// of its row to the right.
    pub fn rows(&self, pc: Option<u32>, forms: &Forms) -> String {
        let columns: Vec<(Form, &[String])> = self
            .forms
            .iter()
            .map(|&form| {
                let lines = match form {
                    Form::Ir => &self.ir,
                    Form::Clif => &forms.clif,
                    Form::Asm => &forms.asm,
                };
                (form, lines.get(&pc).map_or(&[][..], Vec::as_slice))
            })
            .collect();
        let height = columns.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
        let mut text = String::new();
        for row in 0..height {
            let mut line = String::from("      ");
            for (form, lines) in &columns {
                let cell = lines.get(row).map_or("", String::as_str);
                let width = match form {
                    Form::Ir => 34,
                    Form::Clif => 58,
                    Form::Asm => 0,
                };
                let _ = write!(line, "{cell:<width$} | ");
            }
            text.push_str(line.trim_end_matches([' ', '|']));
            text.push('\n');
        }
        text
    }
}

/// What a chunk is, in a line; `code_bytes` is the size of its code, if it is compiled.
pub fn chunk_heading(program: &Program, chunk: Chunk, code_bytes: Option<usize>) -> String {
    let data = &program.chunks[chunk];
    let entries = data.entries.len();
    let code = code_bytes.map_or(String::new(), |bytes| format!(", {bytes} bytes of code"));
    format!("chunk {chunk}: {} opcodes, {entries} entry points{code}", data.opcodes)
}

/// What a block is, in a line.
pub fn block_heading(program: &Program, block: Block) -> String {
    let data = &program.blocks[block];
    let stack = data.stack;
    let mut text = format!(
        "block {block}: pc {:#06x}..{:#06x}, gas {}, stack needs {} grows {} moves {:+}",
        data.pc, data.end_pc, data.gas, stack.needed, stack.growth, stack.delta,
    );
    if let Some(entry) = data.entry.expand() {
        let _ = write!(text, ", entry point {entry}");
    }
    if let Some(goal) = data.merged_into.expand() {
        let _ = write!(text, ", merged into {goal}");
    }
    text.push_str(if data.is_cold { ", cold" } else { "" });
    text
}

/// The opcode at a pc with its immediate, and the pc after it; `None` beyond the code.
pub fn opcode_at(code: &[u8], pc: u32) -> Option<(String, u32)> {
    let at = pc as usize;
    let &byte = code.get(at)?;
    let (name, width) = match OpCode::new(byte) {
        Some(opcode) => (opcode.as_str().to_owned(), usize::from(opcode.info().immediate_size())),
        None => (format!("unknown {byte:#04x}"), 0),
    };
    let end = (at + 1 + width).min(code.len());
    let immediate: String = code[at + 1..end].iter().map(|b| format!("{b:02x}")).collect();
    let text = if immediate.is_empty() { name } else { format!("{name} 0x{immediate}") };
    Some((text, (at + 1 + width) as u32))
}

/// The opcodes of a range of the bytecode with their immediates.
pub fn opcodes(code: &[u8], range: Range<u32>) -> impl Iterator<Item = (u32, String)> {
    let mut pc = range.start;
    std::iter::from_fn(move || {
        let (text, next) = opcode_at(code, pc).filter(|_| pc < range.end)?;
        Some((std::mem::replace(&mut pc, next), text))
    })
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
        let list: Vec<(u32, String)> = opcodes(&[0x60, 1, 0x01, 0x0c, 0x61, 2], 0..6).collect();
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
