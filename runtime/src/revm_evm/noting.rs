//! Noting where blocks begin that a frame comes to while it is interpreted, at the two instructions
//! that tell: JUMPDEST, and a JUMPI that isn't taken.
//!
//! They take the place of revm's own in a copy of the table, so that all others cost what they
//! always do. (A look at each instruction cost 6 to 10 % of real blocks.) The EVM must be known to
//! have revm's.
//!
//! Cost: a copy of 2 KiB for each stretch, and some instructions where a block begins.

use crate::places::Places;
use revm::{
    bytecode::opcode::{JUMPDEST, JUMPI},
    interpreter::{
        Host, Instruction, InstructionContext, InstructionExecResult, InstructionTable,
        instructions::control, interpreter::EthInterpreter, interpreter_types::Jumps,
    },
};
use std::{cell::Cell, marker::PhantomData};

/// Places that are noted of one stretch. What comes later isn't.
const ROOM: usize = 4096;

/// Nobody is at a stretch.
const IDLE: usize = usize::MAX;

/// What is noted of the stretch that this thread is at.
struct Log {
    /// How many.
    noted: Cell<usize>,
    pcs: [Cell<u32>; ROOM],
}

thread_local! {
    // Neither made when it is first used nor dropped: so it is quick to come by.
    static LOG: Log = const { Log { noted: Cell::new(IDLE), pcs: [const { Cell::new(0) }; ROOM] } };
}

/// Notes a pc if that is so.
#[inline(always)]
fn note_if(is_so: bool, pc: usize) {
    LOG.with(|log| {
        let noted = log.noted.get();
        if let Some(place) = log.pcs.get(noted) {
            place.set(pc as u32);
            log.noted.set(noted + usize::from(is_so));
        }
    });
}

/// A stretch of which this thread notes where blocks begin.
pub(super) struct Noting {
    /// It is this thread's.
    _here: PhantomData<*const ()>,
}

impl Noting {
    /// Begins one. `None` within another: a database may run an EVM of its own.
    pub(super) fn begin() -> Option<Self> {
        LOG.with(|log| {
            let is_idle = log.noted.get() == IDLE;
            is_idle.then(|| {
                log.noted.set(0);
                Self { _here: PhantomData }
            })
        })
    }

    /// The table to run the stretch by, in place of one that has revm's JUMPDEST and JUMPI.
    #[inline]
    pub(super) fn table<H: Host>(
        &self,
        table: &InstructionTable<EthInterpreter, H>,
    ) -> InstructionTable<EthInterpreter, H> {
        let mut table = *table;
        table[usize::from(JUMPDEST)] = Instruction::new(jumpdest);
        table[usize::from(JUMPI)] = Instruction::new(jumpi);
        table
    }

    /// Adds to `places` what was noted. `code` is the contract's.
    pub(super) fn end(self, places: &mut Places, code: &[u8]) {
        LOG.with(|log| {
            let noted = log.pcs.get(..log.noted.get()).unwrap_or_default();
            places.note(code, noted.iter().map(Cell::get));
        });
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        LOG.with(|log| log.noted.set(IDLE));
    }
}

fn jumpdest<H: ?Sized>(
    context: InstructionContext<'_, H, EthInterpreter>,
) -> InstructionExecResult {
    // The pc is past it.
    note_if(true, context.interpreter.bytecode.pc() - 1);
    control::jumpdest(context)
}

fn jumpi<H: ?Sized>(context: InstructionContext<'_, H, EthInterpreter>) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let next = interpreter.bytecode.pc();
    control::jumpi(InstructionContext { interpreter: &mut *interpreter, host: &mut *host })?;
    note_if(interpreter.bytecode.pc() == next, next);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::{
        bytecode::Bytecode,
        interpreter::{
            Interpreter,
            host::DummyHost,
            instructions::{gas_table_spec, instruction_table},
            interpreter::ExtBytecode,
        },
        primitives::hardfork::SpecId,
    };

    #[test]
    fn blocks_are_noted_where_they_begin() {
        const SPEC: SpecId = SpecId::OSAKA;
        // PUSH0 PUSH1 9 JUMPI | PUSH1 1 PUSH1 11 JUMPI | JUMPDEST STOP | JUMPDEST PUSH1 9 JUMP
        let code =
            [0x5f, 0x60, 0x0b, 0x57, 0x60, 1, 0x60, 0x0b, 0x57, 0x5b, 0x00, 0x5b, 0x60, 9, 0x56];
        let bytecode = ExtBytecode::new(Bytecode::new_legacy(code.to_vec().into()));
        let mut interpreter = Interpreter::<EthInterpreter>::default_ext();
        interpreter.bytecode = bytecode;
        interpreter.gas = revm::interpreter::Gas::new(1000);
        let noting = Noting::begin().unwrap();
        assert!(Noting::begin().is_none());
        let table = noting.table(&instruction_table::<EthInterpreter, DummyHost>());
        let mut host = DummyHost::new(SPEC);
        while interpreter.step(&table, &gas_table_spec(SPEC), &mut host).is_ok() {}
        let mut places = Places::default();
        noting.end(&mut places, &code);
        let blocks = places.sorted_out(&code).unwrap();
        assert_eq!(blocks.heads(), [0, 11, 9]);
        assert!(blocks.contains(4));
        assert!(Noting::begin().is_some(), "the last one has ended");
    }
}
