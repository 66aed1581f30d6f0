//! A compilation as files for people: bytecode, the passes' IR, Cranelift's IR before and after
//! its own passes, machine code, the control-flow graph, and what it all took. Of stencils there is
//! no IR.
//!
//! [`dump`] compiles a contract once more, chunk by chunk, and makes the contents of the files;
//! whoever wants them writes them. What can't be made is replaced by the reason, for a contract
//! that fails to compile is the one whose files are wanted most. `cranevm explain` shows the same
//! forms side by side ([`listing`]).
//!
//! Cost: a few compilations, and text of at most [`MAX_FILE_BYTES`] a file.

mod graph;
pub mod listing;
mod svg;

use crate::{
    ChunkListing, CompileError, Compiler,
    disassemble::{self, Machine},
};
use cranevm_passes::ir::{entities::Chunk, program::Program};
use graph::Graph;
use listing::{Form, Forms, Listing};
use revm_primitives::hardfork::SpecId;
use std::fmt::Display;

/// Most bytes of a file. Of what is longer the beginning is kept, and a last line that says so.
pub const MAX_FILE_BYTES: usize = 8 << 20;

/// A file of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpFile {
    /// Its name.
    pub name: &'static str,
    /// Its contents; text but for `bytecode.bin`.
    pub contents: Vec<u8>,
}

/// Compiles a contract for its files: `bytecode.bin`, `bytecode.txt`, and, if it can be analysed,
/// `ir.txt`, `clif.txt`, `clif_optimized.txt`, `code.asm`, `graph.dot`, `graph.svg`, `timings.txt`;
/// at a level of stencils `code.asm` and `timings.txt` alone. Else `error.txt` says why not.
pub fn dump(compiler: &mut Compiler, code: &[u8], spec_id: SpecId) -> Vec<DumpFile> {
    let mut files = vec![
        DumpFile { name: "bytecode.bin", contents: code[..code.len().min(MAX_FILE_BYTES)].into() },
        bytecode(code),
    ];
    let refused = |error: CompileError| vec![text_file("error.txt", |text| text.line(error))];
    files.extend(match compiler.list_stencils(code, spec_id) {
        Ok(Some(listing)) => {
            let asm = text_file("code.asm", |text| assembly(text, &listing, code));
            vec![asm, timings(compiler, code, spec_id)]
        }
        Ok(None) => match compiler.analyze(code, spec_id) {
            Ok(program) => translated(compiler, &program, code),
            Err(error) => refused(error),
        },
        Err(error) => refused(error),
    });
    files
}

/// The files of a contract that is translated.
fn translated(compiler: &mut Compiler, program: &Program, code: &[u8]) -> Vec<DumpFile> {
    let mut files = vec![ir(program, code)];
    files.extend(chunks(compiler, program, code));
    let graph = Graph::of(program);
    files.push(text_file("graph.dot", |text| text.push(&graph.to_dot())));
    files.push(text_file("graph.svg", |text| text.push(&svg::draw(&graph))));
    files.push(timings(compiler, code, program.spec_id));
    files
}

/// Text that stops growing at [`MAX_FILE_BYTES`].
#[derive(Debug, Default)]
struct Text {
    text: String,
    is_full: bool,
}

impl Text {
    fn push(&mut self, more: &str) {
        if self.is_full {
            return;
        }
        if self.text.len() + more.len() <= MAX_FILE_BYTES {
            self.text.push_str(more);
        } else {
            self.is_full = true;
            self.text.push_str("\n[cut off here: the file would be too long]\n");
        }
    }

    fn line(&mut self, line: impl Display) {
        self.push(&format!("{line}\n"));
    }

    fn into_file(self, name: &'static str) -> DumpFile {
        DumpFile { name, contents: self.text.into_bytes() }
    }
}

fn text_file(name: &'static str, write: impl FnOnce(&mut Text)) -> DumpFile {
    let mut text = Text::default();
    write(&mut text);
    text.into_file(name)
}

fn bytecode(code: &[u8]) -> DumpFile {
    text_file("bytecode.txt", |text| {
        for (pc, opcode) in listing::opcodes(code, 0..code.len() as u32) {
            text.line(format_args!("{pc:#06x}  {opcode}"));
        }
    })
}

/// The passes' IR under the opcodes that it comes from.
fn ir(program: &Program, code: &[u8]) -> DumpFile {
    let listing = Listing::new(program, code, &[Form::Ir]);
    let forms = Forms::default();
    text_file("ir.txt", |text| {
        for chunk in program.chunks.keys() {
            text.line(listing::chunk_heading(program, chunk, None));
            for block in program.chunk_blocks(chunk) {
                text.line("");
                text.line(listing::block_heading(program, block));
                text.push(&listing.block(block, &forms));
            }
        }
    })
}

/// Both forms of Cranelift's IR, and machine code.
fn chunks(compiler: &mut Compiler, program: &Program, code: &[u8]) -> [DumpFile; 3] {
    let [mut before, mut after, mut asm] = <[Text; 3]>::default();
    for chunk in program.chunks.keys() {
        if program.chunks[chunk].entries.is_empty() {
            continue;
        }
        let listed = compiler.list_chunk(program, chunk);
        let bytes = listed.as_ref().ok().map(|listing| listing.code.len());
        let heading = listing::chunk_heading(program, chunk, bytes);
        for text in [&mut before, &mut after, &mut asm] {
            text.line(format_args!("; {heading}"));
        }
        match listed {
            Ok(listing) => {
                before.line(&listing.clif);
                after.line(&listing.optimized_clif);
                assembly(&mut asm, &listing, code);
            }
            Err(error) => failed_chunk(&mut before, compiler, program, chunk, &error),
        }
        if [&before, &after, &asm].iter().all(|text| text.is_full) {
            break;
        }
    }
    [before.into_file("clif.txt"), after.into_file("clif_optimized.txt"), asm.into_file("code.asm")]
}

/// Of a chunk that Cranelift refuses there is what it was given, and why it was refused.
fn failed_chunk(
    text: &mut Text,
    compiler: &mut Compiler,
    program: &Program,
    chunk: Chunk,
    error: &CompileError,
) {
    // What isn't translated at all has the same error.
    if let Ok(clif) = compiler.translate_only(program, chunk) {
        text.line(clif);
    }
    text.line(error);
}

fn assembly(text: &mut Text, listing: &ChunkListing, code: &[u8]) {
    let lines = Machine::of(&listing.target)
        .and_then(|machine| disassemble::disassemble(machine, &listing.code, 0, &listing.marks));
    let name = |pc: u32| listing::opcode_at(code, pc).map_or(String::new(), |(text, _)| text);
    match lines {
        Ok(lines) => text.push(&disassemble::listing(&lines, name)),
        Err(error) => text.line(error),
    }
}

/// Times and counts of a compilation from start to end.
fn timings(compiler: &mut Compiler, code: &[u8], spec_id: SpecId) -> DumpFile {
    let compiled = compiler.compile(code, spec_id);
    let options = *compiler.options();
    text_file("timings.txt", |text| {
        text.line(format_args!("{spec_id:?}, {options:?}"));
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(error) => return text.line(error),
        };
        let timings = compiled.timings;
        for (phase, time) in [
            ("parse", timings.parse),
            ("translate", timings.translate),
            ("optimize", timings.optimize),
            ("codegen", timings.codegen),
        ] {
            text.line(format_args!("{phase:<14} {time:>12.1?}"));
        }
        text.line("of parse:");
        text.push(&compiled.report.pass_times.to_string());
        for (what, count) in [
            ("bytecode bytes", code.len()),
            ("opcodes", compiled.report.opcodes as usize),
            ("blocks", compiled.report.blocks as usize),
            ("chunks", compiled.chunks()),
            ("entry points", compiled.entries.len()),
            ("CLIF", compiled.report.clif_instructions as usize),
            ("code bytes", compiled.code_bytes()),
        ] {
            text.line(format_args!("{what:<14} {count:>12}"));
        }
    })
}
