//! The wrong entries that no program can show, and why.

use crate::programs::opcodes::{NULLARY, available};
use cranevm_passes::ir::{
    implementation::Implementation,
    opcode::overrides::{Change, Mutant},
};
use revm::bytecode::opcode::*;

/// Words that an instruction takes at most.
const MAX_INPUTS: u8 = 7;

/// revm's instruction does it, or a builtin like it.
const LOOKS_ITSELF: &str = "what is called looks at the fork and at the stack itself";

/// Why a mutant is as good as what the table has, if it is.
pub fn reason(mutant: &Mutant) -> Option<&'static str> {
    use Implementation::{Charged, Delegated, Exit, Suspend};
    let opcode = mutant.opcode.get();
    let own = mutant.opcode.implementation();
    match mutant.change {
        change if opcode == INVALID => of_invalid(change),
        Change::Since(fork) if matches!(own, Charged | Delegated | Exit | Suspend) => {
            (!available(opcode, fork)).then_some(LOOKS_ITSELF)
        }
        Change::Implementation(Delegated) if may_be_delegated(opcode, own) => {
            Some("revm's own instruction in its place is slower, and as exact")
        }
        Change::Implementation(Delegated) if opcode == POP => {
            Some("revm's own instruction in its place, which drops the word as well")
        }
        Change::Implementation(Delegated) if own == Exit => {
            Some("revm's own instruction ends the frame, whatever was thought of it")
        }
        Change::Immediate(1) if matches!(opcode, STOP | JUMP | RETURN | REVERT | SELFDESTRUCT) => {
            Some("the byte after it isn't reached but by a jump, which is then interpreted")
        }
        // A creation that fails without another frame goes on in stencils.
        Change::Outputs(_) if own == Suspend && !matches!(opcode, CREATE | CREATE2) => {
            Some("a resumed frame's stack is as high as it is, whatever was said before")
        }
        Change::Inputs(_) if own == Exit => Some(LOOKS_ITSELF),
        // A creation may fail without another frame, and then goes on.
        Change::Inputs(count) if own == Suspend && !matches!(opcode, CREATE | CREATE2) => {
            (count <= MAX_INPUTS).then_some(LOOKS_ITSELF)
        }
        _ => None,
    }
}

/// Whether revm's instruction can stand for one that compiled code does otherwise. What is computed
/// of constants can't: the verifier wants it computed.
fn may_be_delegated(opcode: u8, own: Implementation) -> bool {
    let is_nullary = opcode != PC && NULLARY.iter().any(|&(nullary, _)| nullary == opcode);
    let is_charging = matches!(own, Implementation::Charged | Implementation::Memory);
    is_charging || is_nullary || opcode == CALLDATALOAD
}

/// INVALID is handed over, in a block of its own.
fn of_invalid(change: Change) -> Option<&'static str> {
    use Implementation::{Delegated, Exit, Suspend};
    match change {
        Change::Implementation(Delegated | Exit | Suspend) => {
            Some("revm's own instruction fails in the same way")
        }
        Change::Implementation(_) => None,
        _ => Some("it is handed over all the same"),
    }
}
