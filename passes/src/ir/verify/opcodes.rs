//! Which opcodes a block may have inside, and which one ends it.
//!
//! A block does all its opcodes but the last in order, and goes on: so each must be one that the
//! fork has, revm's own, with an immediate that means something, and such that execution goes on
//! after it, with the next byte or by a jump along the block's path. Which one the last is, its
//! terminator says.
//!
//! Needs the bytes alone. Cost: one look at each opcode.

use super::source::Read;
use super::{Defect, Entity, Source, VerifyError, ensure};
use crate::ir::entities::Block;
use crate::ir::implementation::Implementation;
use crate::ir::opcode::Opcode;
use crate::ir::program::{Program, Terminator};

/// Verifies the opcodes of a block, the last included.
pub(super) fn verify_opcodes(
    program: &Program,
    source: &Source<'_>,
    block: Block,
    opcodes: &[Read],
) -> Result<(), VerifyError> {
    let entity = Entity::Block(block);
    let table = Table { program, source };
    let (last, inside) = match opcodes {
        [inside @ .., last] => (Some(last), inside),
        [] => (None, opcodes),
    };
    for read in inside {
        let jumps = read.opcode.implementation() == Implementation::Jump;
        let goes_on = table.is_compiled(read) && (jumps || stays_inside(read));
        ensure(goes_on, entity, Defect::GoesThrough(read.opcode))?;
    }
    let ends_right = match program.blocks[block].terminator {
        Terminator::FallThrough(_) => last.is_none_or(|last| table.goes_past(last)),
        Terminator::Jump(_) => table.is_done_by(last, Implementation::Jump),
        Terminator::Branch { .. } => table.is_done_by(last, Implementation::Branch),
        Terminator::Exit(_) => table.is_done_by(last, Implementation::Exit),
        Terminator::Suspend { .. } => table.is_done_by(last, Implementation::Suspend),
        Terminator::Stop { .. } => {
            let is_at_end = last.is_none_or(|last| {
                table.goes_past(last) && source.code.len() <= last.end() as usize
            });
            is_at_end || table.is_done_by(last, Implementation::Stop)
        }
        Terminator::HandOver { continuation, .. } => last.is_some_and(|last| {
            // Only a chain's own instruction may be expected to go on.
            let next = continuation.expand().map(|next| program.blocks[next].pc);
            let after = table.after_foreign(last);
            !table.is_compiled(last) && next == after
        }),
    };
    ensure(ends_right, entity, Defect::OtherEnd)
}

/// What compiled code may do.
struct Table<'a> {
    program: &'a Program,
    source: &'a Source<'a>,
}

impl Table<'_> {
    /// Whether revm executes an opcode in this fork, and doesn't just fail.
    fn is_executed(&self, read: &Read) -> bool {
        read.opcode.is_active(self.program.spec_id)
            && read.opcode.implementation() != Implementation::HandOver
            && read.is_immediate_valid()
    }

    fn is_foreign(&self, read: &Read) -> bool {
        self.source.foreign.bit(read.opcode.get().into())
    }

    /// Whether compiled code may do an opcode.
    fn is_compiled(&self, read: &Read) -> bool {
        self.is_executed(read) && !self.is_foreign(read)
    }

    /// Whether compiled code may do an opcode, and goes on with the byte after it.
    fn goes_past(&self, read: &Read) -> bool {
        self.is_compiled(read) && stays_inside(read)
    }

    fn is_done_by(&self, read: Option<&Read>, implementation: Implementation) -> bool {
        read.is_some_and(|read| {
            self.is_compiled(read) && read.opcode.implementation() == implementation
        })
    }

    /// Where the instruction after a foreign opcode is. Of what follows an opcode only the bytes
    /// that a PUSH has are known to be no instruction, for so jump targets are found.
    fn after_foreign(&self, read: &Read) -> Option<u32> {
        let has_length = (Opcode::PUSH1..=Opcode::PUSH32).contains(&read.opcode);
        let end = if has_length { read.end() } else { read.pc + 1 };
        let is_foreign = self.is_executed(read) && self.is_foreign(read);
        is_foreign.then(|| end.min(self.source.code.len() as u32))
    }
}

/// Whether the opcode after an opcode follows it in the bytes.
fn stays_inside(read: &Read) -> bool {
    let implementation = read.opcode.implementation();
    implementation == Implementation::Stack || implementation.stays_inside()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::opcode::OpcodeSet;
    use crate::ir::program::{JumpTarget, Span};
    use crate::ir::verify::{Stage, verify_meaning, verify_source};
    use crate::{PassOptions, analyze};
    use alloy_primitives::hex;
    use revm_primitives::hardfork::SpecId;

    fn analyzed(code: &[u8], spec_id: SpecId, foreign: OpcodeSet) -> Program {
        let options = PassOptions { spec_id, foreign, verify: true, ..PassOptions::default() };
        analyze(code, &options).expect("short code")
    }

    /// The code of a program of blocks without paths.
    fn source<'a>(program: &Program, code: &'a [u8]) -> Source<'a> {
        let blocks = program.blocks.values();
        let segments = blocks.map(|data| vec![Span { start: data.pc, end: data.end_pc }]);
        let constants = vec![Vec::new(); program.blocks.len()];
        Source { code, segments: segments.collect(), constants, foreign: OpcodeSet::ZERO }
    }

    fn found(program: &Program, source: &Source<'_>) -> Result<(), Defect> {
        let found = verify_source(program, source, Stage::Complete)
            .and_then(|()| verify_meaning(program, source));
        found.map_err(|error| error.defect)
    }

    /// What is found of a program that was made without the byte after its first instruction.
    fn through(byte: u8) -> Result<(), Defect> {
        // PUSH1 1 PUSH0 SSTORE STOP
        let code = hex!("60015f5500");
        let mut program = analyzed(&code, SpecId::OSAKA, OpcodeSet::ZERO);
        assert_eq!(found(&program, &source(&program, &code)), Ok(()));
        let with = [&code[..2], &[byte], &code[2..]].concat();
        program.code_len += 1;
        program.insts.values_mut().for_each(|inst| inst.pc += 1);
        let data = program.blocks.values_mut().next().expect("one block");
        (data.end_pc, data.terminator) = (6, Terminator::Stop { pc: 5 });
        found(&program, &source(&program, &with))
    }

    #[test]
    fn no_block_goes_on_after_what_ends_it() {
        // STOP, JUMPI, RETURN, CALL, unassigned bytes, INVALID, and one of a later fork.
        for byte in [0x00, 0x57, 0xf3, 0xf1, 0x0c, 0xef, 0xfe, 0xe6, 0x4b] {
            let defect = Defect::GoesThrough(Opcode::new(byte));
            assert_eq!(through(byte), Err(defect), "{byte:#04x}");
        }
    }

    #[test]
    fn what_the_fork_or_the_chain_has_otherwise_is_found() {
        let code = hex!("5f60005500");
        let mut program = analyzed(&code, SpecId::SHANGHAI, OpcodeSet::ZERO);
        let mut source = source(&program, &code);
        assert_eq!(found(&program, &source), Ok(()));
        source.foreign = OpcodeSet::from(1) << 0x55;
        assert_eq!(found(&program, &source), Err(Defect::GoesThrough(Opcode::SSTORE)));
        source.foreign = OpcodeSet::ZERO;
        program.spec_id = SpecId::LONDON;
        assert_eq!(found(&program, &source), Err(Defect::GoesThrough(Opcode::PUSH0)));
    }

    /// The immediates of EIP-8024 that mean nothing, which are those that may be JUMPDEST or PUSH.
    #[test]
    fn invalid_immediates_are_found() {
        for (opcode, valid) in [(0xe6, [0x5a, 0x80]), (0xe7, [0x5a, 0x80]), (0xe8, [0x51, 0x80])] {
            for next in 0..=u8::MAX {
                let read = Read::new(0, Opcode::new(opcode), next);
                let is_valid = next <= valid[0] || valid[1] <= next;
                assert_eq!(read.is_immediate_valid(), is_valid, "{opcode:02x} {next:02x}");
            }
        }
        let program = analyzed(&hex!("e68000"), SpecId::AMSTERDAM, OpcodeSet::ZERO);
        let invalid = source(&program, &hex!("e65b00"));
        let defect = verify_source(&program, &invalid, Stage::Lifted).expect_err("it is wrong");
        assert_eq!(defect.defect, Defect::GoesThrough(Opcode::DUPN));
    }

    #[test]
    fn other_ends_are_found() {
        let first = Block::from_u32(0);
        // CALLER POP STOP; JUMPDEST STOP
        let code = hex!("3350005b00");
        let change = |terminator, end| {
            let mut program = analyzed(&code, SpecId::OSAKA, OpcodeSet::ZERO);
            program.blocks[first].terminator = terminator;
            let mut source = source(&program, &code);
            source.segments[0][0].end = end;
            verify_source(&program, &source, Stage::Lifted).map_err(|error| error.defect)
        };
        assert_eq!(change(Terminator::Stop { pc: 2 }, 3), Ok(()));
        let stops_early = change(Terminator::Stop { pc: 2 }, 2);
        assert_eq!(stops_early, Err(Defect::OtherEnd), "the code goes on");
        let next = Block::from_u32(1);
        assert_eq!(change(Terminator::FallThrough(next), 3), Err(Defect::OtherEnd));
        let jump = Terminator::Jump(JumpTarget::Block(next));
        assert_eq!(change(jump, 3), Err(Defect::OtherEnd));
        let hand_over = |continuation| Terminator::HandOver { pc: 2, continuation };
        assert_eq!(change(hand_over(None.into()), 3), Err(Defect::OtherEnd), "STOP is compiled");
        // A jump whose target isn't looked at.
        let code = hex!("6003565b00");
        let mut program = analyzed(&code, SpecId::OSAKA, OpcodeSet::ZERO);
        program.blocks[first].terminator = Terminator::FallThrough(next);
        let source = source(&program, &code);
        let defect = verify_source(&program, &source, Stage::Lifted).expect_err("it is wrong");
        assert_eq!(defect.defect, Defect::OtherEnd);
    }

    #[test]
    fn only_a_foreign_opcode_goes_on_where_it_ends() {
        // CALLER BALANCE POP STOP
        let code = hex!("33315000");
        let foreign = OpcodeSet::from(1) << 0x31;
        let mut program = analyzed(&code, SpecId::OSAKA, foreign);
        let mut source = source(&program, &code);
        source.foreign = foreign;
        assert_eq!(found(&program, &source), Ok(()));
        let first = Block::from_u32(0);
        program.blocks[first].terminator =
            Terminator::HandOver { pc: 1, continuation: None.into() };
        assert_eq!(found(&program, &source), Err(Defect::OtherEnd));
        let continuation = first.into();
        program.blocks[first].terminator = Terminator::HandOver { pc: 1, continuation };
        assert_eq!(found(&program, &source), Err(Defect::OtherEnd));
    }
}
