//! The machine code as a subject: entered once, at any of its entry points.
//!
//! This is the one place of the tests that enters compiled code other than through the library: no
//! EVM gives it a frame in a state of a test's choice.

#![expect(unsafe_code, reason = "entering compiled code")]

use super::{
    Subject,
    compare::Exit,
    host::RecordingHost,
    oracle::Oracle,
    state::{Code, Frame},
};
use cranevm_codegen::{
    CompileError, Compiler, CompilerOptions, NativeProgram, NativeRun, Program,
    code_memory::CodeRegion,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Address space for compiled code: a few programs at a time.
const REGION_BYTES: usize = 1 << 28;

/// Compilers, one for each choice of options, and the memory that code is loaded into.
pub struct Compilers {
    compilers: Vec<Compiler>,
    region: Arc<CodeRegion>,
}

impl Compilers {
    /// No compilers yet.
    ///
    /// # Errors
    /// When there is no address space.
    pub fn new() -> Result<Self, CompileError> {
        Ok(Self { compilers: Vec::new(), region: CodeRegion::new(REGION_BYTES)? })
    }

    /// Compiles a code.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn compile(
        &mut self,
        code: &Code,
        options: CompilerOptions,
    ) -> Result<Machine, CompileError> {
        let known = self.compilers.iter().position(|compiler| *compiler.options() == options);
        let index = match known {
            Some(index) => index,
            None => {
                // Each seed of a chaos comes once.
                self.compilers.retain(|compiler| compiler.options().chaos.is_none());
                self.compilers.push(Compiler::new(options)?);
                self.compilers.len() - 1
            }
        };
        let compiler = &mut self.compilers[index];
        let program = compiler.analyze(&code.bytes, code.spec)?;
        let compiled = compiler.compile(&code.bytes, code.spec)?;
        let native = NativeProgram::load(&compiled, &self.region)?;
        Ok(Machine { native, program })
    }
}

/// A compiled code.
pub struct Machine {
    native: NativeProgram,
    program: Program,
}

impl Subject for Machine {
    fn program(&self) -> &Program {
        &self.program
    }

    fn run(&self, oracle: &Oracle, frame: &mut Frame, host: &mut RecordingHost) -> Exit {
        let (func, instructions) = (self.native.func(), oracle.instructions());
        let entered = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the program is alive, and was compiled from the frame's code for its fork,
            // whose instructions and prices are the oracle's. A state is one that revm can be in:
            // a pc at an instruction, at most 1024 words on a stack that has room for so many.
            unsafe { func.go_on(frame, host, instructions, oracle.gas_table()) }
        }));
        match entered {
            Ok(NativeRun::NotEntered) => Exit::NotEntered,
            Ok(NativeRun::Ended) => Exit::Ended,
            Ok(NativeRun::HandedOver(_)) => Exit::HandedOver,
            Ok(NativeRun::Faulted(fault)) => Exit::Broken(fault.to_string()),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().map(String::as_str);
                Exit::Broken(text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("?").into())
            }
        }
    }
}
