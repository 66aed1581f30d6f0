//! `cranevm explain`: what becomes of each opcode: the passes' IR, Cranelift's IR, machine code.
//!
//! The listing follows the bytecode; the forms stand in columns. `cranevm_codegen::dump` makes it.

use super::Opt;
use crate::terminal;
use crate::terminal::say;
use clap::{Args, ValueEnum};
use cranevm_cli::{CommandError, Contract, InputError, spec};
use cranevm_codegen::{
    CompilerOptions, PassSet, Triple,
    dump::{
        self, DumpFile,
        listing::{self, Form, Forms, Listing},
    },
};
use cranevm_passes::ir::{
    entities::Block,
    program::{JumpStats, Program},
};
use revm::primitives::hardfork::SpecId;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

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
    /// Machine to compile for, by its target triple; nothing is assumed of its CPU [default: this
    /// one, with all that its CPU has]
    #[arg(long, value_name = "TRIPLE", value_parser = super::parse_target)]
    target: Option<Triple>,
    /// Write everything to files in this folder instead, the control-flow graph included
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["pc", "emit"])]
    dump: Option<PathBuf>,
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
            predict_jumps: true,
            ..Default::default()
        };
        let mut compiler = super::new_compiler(options, self.target.as_ref())?;
        if let Some(folder) = &self.dump {
            let files = dump::dump(&mut compiler, &contract.code, self.spec);
            return write_files(folder, &files).map_err(|error| {
                CommandError::Failed(format!("{}: can't be written: {error}", folder.display()))
            });
        }
        if !options.opt_level.optimises() {
            let problem = "code of stencils has no IR to show; --dump writes its machine code";
            return Err(InputError::new("--opt", problem).into());
        }
        let program =
            compiler.analyze(&contract.code, self.spec).map_err(|error| failed(&error))?;
        let blocks = self.blocks(&program)?;
        let listing = Listing::new(&program, &contract.code, &self.forms());
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
            let listed = compiler.list_chunk(&program, chunk).map_err(|error| failed(&error))?;
            let forms = Forms::of(&listed).map_err(|error| failed(&error))?;
            let heading = listing::chunk_heading(&program, chunk, Some(listed.code.len()));
            say!("{}", terminal::green(heading));
            if self.pc.is_none() {
                say_lines(&listing.rows(None, &forms));
            }
            for block in shown {
                say!("\n{}", terminal::green(listing::block_heading(&program, block)));
                say_lines(&listing.block(block, &forms));
            }
        }
        Ok(())
    }

    /// The forms to show, in the order of their columns.
    fn forms(&self) -> Vec<Form> {
        [(Emit::Ir, Form::Ir), (Emit::Clif, Form::Clif), (Emit::Asm, Form::Asm)]
            .into_iter()
            .filter(|(emit, _)| self.emit.contains(emit))
            .map(|(_, form)| form)
            .collect()
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

/// Writes files into a folder, which is made if need be.
fn write_files(folder: &Path, files: &[DumpFile]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    files.iter().try_for_each(|file| fs::write(folder.join(file.name), &file.contents))
}

/// Prints text that ends with a line feed, or nothing.
fn say_lines(text: &str) {
    if let Some(text) = text.strip_suffix('\n') {
        say!("{text}");
    }
}
