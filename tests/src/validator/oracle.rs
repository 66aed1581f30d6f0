//! revm's interpreter, instruction by instruction: what must have happened where a stretch ends.

use super::{
    host::RecordingHost,
    state::{Code, Frame, State},
};
use crate::sweep::trace::{Step, Trace};
use revm::{
    bytecode::{Bytecode, opcode::*},
    interpreter::{
        GasTable, InstructionTable,
        instructions::{gas_table_spec, instruction_table},
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LoopControl},
    },
};

/// Steps of a stretch whose prices are looked at: enough for the longest path, or some rounds of a
/// loop.
const TRACED_STEPS: usize = 1500;

/// The interpreter, for one code.
pub struct Oracle {
    /// The code, analysed.
    pub bytecode: Bytecode,
    code: Code,
    instructions: InstructionTable<EthInterpreter, RecordingHost>,
    gas_table: GasTable,
}

impl Oracle {
    /// The interpreter for a code.
    pub fn new(code: &Code) -> Self {
        let gas_table = gas_table_spec(code.spec);
        let bytecode = Bytecode::new_legacy(code.bytes.clone());
        Self { bytecode, code: code.clone(), instructions: instruction_table(), gas_table }
    }

    /// A frame in this state, and its host.
    pub fn begin(&self, state: &State) -> (Frame, RecordingHost) {
        let spec = self.code.spec;
        (state.frame(&self.bytecode, spec), RecordingHost::new(spec, state.seed))
    }

    /// revm's instructions.
    pub const fn instructions(&self) -> &InstructionTable<EthInterpreter, RecordingHost> {
        &self.instructions
    }

    /// The fork's prices.
    pub const fn gas_table(&self) -> &GasTable {
        &self.gas_table
    }

    /// Executes one instruction; whether the frame has ended or is suspended, its action being in
    /// the frame.
    pub fn step(&self, frame: &mut Frame, host: &mut RecordingHost) -> bool {
        let Err(result) = frame.step(&self.instructions, &self.gas_table, host) else {
            return false;
        };
        if frame.bytecode.action().is_none() {
            frame.halt(result);
        }
        true
    }

    /// Executes until the frame ends or is suspended: so many instructions.
    pub fn finish(&self, frame: &mut Frame, host: &mut RecordingHost) -> u64 {
        let mut steps = 1;
        while !self.step(frame, host) {
            steps += 1;
        }
        steps
    }

    /// What the instructions from a state on cost, counted from there.
    pub fn trace(&self, state: &State) -> Trace {
        let (mut frame, mut host) = self.begin(state);
        let mut steps = Vec::new();
        while steps.len() < TRACED_STEPS {
            let (pc, opcode) = (frame.bytecode.pc(), frame.bytecode.opcode());
            let before = frame.gas.remaining();
            let ended = self.step(&mut frame, &mut host);
            // A slot that is cleared again gives state gas back (EIP-8037).
            let cost = before.saturating_sub(frame.gas.remaining());
            let failed = ended && !matches!(opcode, STOP | RETURN | REVERT);
            let is_dynamic = !failed && cost != u64::from(self.gas_table[usize::from(opcode)]);
            let spent = state.gas.saturating_sub(before);
            steps.push(Step { pc, opcode, spent, cost, is_dynamic, failed });
            if ended {
                break;
            }
        }
        Trace { steps }
    }
}
