//! Which of an EVM's instructions are revm's, and which are **foreign**.
//!
//! Compiled code does what revm's instructions do, without a look at the EVM's table, so it may
//! only run where the table has revm's for all that it does. Functions are told apart by address.
//! Those of revm are generic, so each crate of a program that makes a table has copies of its own:
//!
//! - in a table of the crate that runs the EVM, what has another address is another function;
//! - in a table of another crate everything has. Instructions for what compiled code does by its
//!   own means are then run beside revm's and compared ([`prove`](super::prove)). All others are
//!   foreign: those that ask the host can't be tried, and the rest can be stepped over at a small
//!   part of what they cost.
//!
//! A verdict is kept with the addresses that it is of, by each EVM and by the process, so a table
//! is judged once. After that it costs some 10 ns where the table is revm's, and as much again
//! where it isn't.

use super::prove::behaves_like;
use crate::OpcodeSet;
use revm_bytecode::opcode::{self, OpCode};
use revm_context_interface::cfg::GasParams;
use revm_interpreter::{
    Host, Instruction, InstructionTable, instructions::instruction_table,
    interpreter::EthInterpreter,
};
use revm_primitives::hardfork::SpecId;
use std::{
    ptr,
    sync::{Mutex, PoisonError},
};

/// Verdicts that the process keeps.
const MAX_KEPT: usize = 64;

/// The opcodes that compiled code does by its own means: arithmetic, stack, memory and jumps. A
/// chain that has others for these is better off interpreted. revm's instructions for them ask the
/// host for nothing but prices.
#[cfg(feature = "cranelift")]
pub fn native_opcodes() -> OpcodeSet {
    use cranevm_passes::ir::opcode::Opcode;
    use std::sync::LazyLock;
    static NATIVE: LazyLock<OpcodeSet> = LazyLock::new(|| {
        let is_own = |&byte: &u8| Opcode::new(byte).implementation().is_own();
        (0..=u8::MAX).filter(is_own).fold(OpcodeSet::ZERO, |set, byte| set | just(byte))
    });
    *NATIVE
}

/// Without a compiler there is no code that does any.
#[cfg(not(feature = "cranelift"))]
pub const fn native_opcodes() -> OpcodeSet {
    OpcodeSet::ZERO
}

/// Opcodes whose functions are so small that the Rust compiler makes a copy of them for each of its
/// units that mentions them.
const TINY_OPCODES: [u8; 2] = [opcode::STOP, opcode::JUMPDEST];

/// Another function as small, which tells whether two tables have the same copies. No code is made
/// for its opcode.
const TINY_WITNESS: u8 = opcode::INVALID;

/// The set of one opcode.
fn just(byte: u8) -> OpcodeSet {
    OpcodeSet::from(1) << usize::from(byte)
}

/// A table's functions by their addresses.
type Addresses = [usize; 256];

/// What was found of a table of instructions.
#[derive(Clone, Debug)]
struct Verdict {
    table: Addresses,
    /// revm's, of the same type of host.
    own: Addresses,
    spec_id: SpecId,
    foreign: OpcodeSet,
}

/// The verdicts of this process, oldest first.
static KEPT: Mutex<Vec<Verdict>> = Mutex::new(Vec::new());

/// What an EVM was found to have for instructions.
#[derive(Clone, Debug, Default)]
pub struct TableVerdicts {
    /// The last one; none for revm's own table.
    last: Option<Box<Verdict>>,
}

impl TableVerdicts {
    /// The foreign opcodes of a table: those that a fork has, and for which `table` isn't known to
    /// have revm's instruction. `host` is the EVM's.
    pub fn of<H: Host>(
        &mut self,
        table: &InstructionTable<EthInterpreter, H>,
        spec_id: SpecId,
        host: &mut H,
    ) -> OpcodeSet {
        let tables = (table, own_table::<H>());
        let Some(addresses) = addresses_that_differ(tables) else { return OpcodeSet::ZERO };
        match &self.last {
            Some(last) if last.is_of(addresses, spec_id) => last.foreign,
            _ => {
                let foreign = kept_verdict(tables, addresses, spec_id, host);
                self.last = Some(Box::new(Verdict::new(addresses, spec_id, foreign)));
                foreign
            }
        }
    }

    /// [`of`](Self::of) for who keeps no verdicts.
    pub fn of_process<H: Host>(
        table: &InstructionTable<EthInterpreter, H>,
        spec_id: SpecId,
        host: &mut H,
    ) -> OpcodeSet {
        let tables = (table, own_table::<H>());
        match addresses_that_differ(tables) {
            Some(addresses) => kept_verdict(tables, addresses, spec_id, host),
            None => OpcodeSet::ZERO,
        }
    }
}

impl Verdict {
    fn new((table, own): (&Addresses, &Addresses), spec_id: SpecId, foreign: OpcodeSet) -> Self {
        Self { table: *table, own: *own, spec_id, foreign }
    }

    fn is_of(&self, (table, own): (&Addresses, &Addresses), spec_id: SpecId) -> bool {
        self.table == *table && self.own == *own && self.spec_id == spec_id
    }
}

/// A table and revm's.
type Pair<'a, H> =
    (&'a InstructionTable<EthInterpreter, H>, &'a InstructionTable<EthInterpreter, H>);

/// The addresses in both tables, if they aren't the same.
fn addresses_that_differ<H: Host>((table, own): Pair<'_, H>) -> Option<(&Addresses, &Addresses)> {
    let (table, own) = (addresses(table), addresses(own));
    (table != own).then_some((table, own))
}

/// What the process knows of a table that isn't revm's, or learns.
#[cold]
fn kept_verdict<H: Host>(
    (table, own): Pair<'_, H>,
    addresses: (&Addresses, &Addresses),
    spec_id: SpecId,
    host: &mut H,
) -> OpcodeSet {
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(verdict) = kept().iter().find(|verdict| verdict.is_of(addresses, spec_id)) {
        return verdict.foreign;
    }
    // Not under the lock: what is judged may be a client's function.
    let (foreign, is_lasting) = judge(table, own, spec_id, host);
    if is_lasting {
        let mut kept = kept();
        if kept.len() == MAX_KEPT {
            kept.remove(0);
        }
        kept.push(Verdict::new(addresses, spec_id, foreign));
    }
    foreign
}

/// The foreign opcodes of a table, and whether that is so for good.
#[cold]
fn judge<H: Host>(
    table: &InstructionTable<EthInterpreter, H>,
    own: &InstructionTable<EthInterpreter, H>,
    spec_id: SpecId,
    host: &mut H,
) -> (OpcodeSet, bool) {
    let Suspects { mut foreign, unproven } = suspects(addresses(table), addresses(own));
    if unproven.is_zero() {
        return (foreign, true);
    }
    // Prices of the host's own may make anything of an instruction, also a long one.
    if *host.gas_params() != GasParams::new_spec(spec_id) {
        return (foreign | unproven, false);
    }
    for byte in (0..=u8::MAX).filter(|&byte| unproven.bit(byte.into())) {
        let index = usize::from(byte);
        if !behaves_like(byte, (table[index], own[index]), spec_id, host) {
            foreign.set_bit(index, true);
        }
    }
    (foreign, true)
}

/// The opcodes with other functions than revm's.
#[derive(Debug, Default, PartialEq)]
struct Suspects {
    /// Another function, or one that can't be told from another.
    foreign: OpcodeSet,
    /// Perhaps a copy.
    unproven: OpcodeSet,
}

fn suspects(table: &Addresses, own: &Addresses) -> Suspects {
    let is_same = |byte: u8| table[usize::from(byte)] == own[usize::from(byte)];
    let is_tiny = |byte: u8| TINY_OPCODES.contains(&byte);
    // Bytes that no fork assigns, and INVALID, are left to the interpreter, whatever they do.
    let matters = |&byte: &u8| OpCode::new(byte).is_some() && byte != TINY_WITNESS;
    let assigned = || (0..=u8::MAX).filter(matters);
    let (same, others): (Vec<u8>, Vec<u8>) =
        assigned().filter(|&byte| !is_tiny(byte)).partition(|&byte| is_same(byte));
    let is_of_this_crate = same.len() > others.len();
    let mut suspects = Suspects::default();
    for byte in assigned().filter(|&byte| !is_same(byte)) {
        let may_be_copy = match is_tiny(byte) {
            true => !is_same(TINY_WITNESS),
            false => !is_of_this_crate && native_opcodes().bit(byte.into()),
        };
        let set = if may_be_copy { &mut suspects.unproven } else { &mut suspects.foreign };
        set.set_bit(byte.into(), true);
    }
    suspects
}

/// revm's own table, as compiled for this host.
#[inline(always)]
pub(super) fn own_table<'a, H: Host + 'a>() -> &'a InstructionTable<EthInterpreter, H> {
    const { &instruction_table::<EthInterpreter, H>() }
}

fn addresses<H: Host>(table: &InstructionTable<EthInterpreter, H>) -> &Addresses {
    const { assert!(size_of::<Instruction<EthInterpreter, H>>() == size_of::<usize>()) };
    const { assert!(align_of::<Instruction<EthInterpreter, H>>() == align_of::<usize>()) };
    // SAFETY: an `Instruction` is a function pointer in the size and alignment of a `usize`
    // (asserted above), so none of its bytes is padding; the result borrows the table.
    unsafe { &*ptr::from_ref(table).cast::<Addresses>() }
}

#[cfg(all(test, feature = "cranelift"))]
mod tests {
    use super::*;

    /// revm's table in a crate whose code begins at `base`.
    fn table(base: usize) -> Addresses {
        std::array::from_fn(|byte| match OpCode::new(byte as u8) {
            Some(_) => base + 16 * (byte + 1),
            None => base,
        })
    }

    fn changed(mut table: Addresses, opcodes: &[u8]) -> Addresses {
        opcodes.iter().for_each(|&opcode| table[usize::from(opcode)] = usize::from(opcode) + 5);
        table
    }

    fn of(opcodes: &[u8]) -> OpcodeSet {
        opcodes.iter().fold(OpcodeSet::ZERO, |set, &opcode| set | just(opcode))
    }

    #[test]
    fn what_differs_in_a_table_of_this_crate_is_foreign() {
        let own = table(0);
        assert_eq!(suspects(&own, &own), Suspects::default());
        let replaced = [opcode::ADD, opcode::KECCAK256, opcode::BALANCE, opcode::JUMPDEST];
        let expected = Suspects { foreign: of(&replaced), unproven: OpcodeSet::ZERO };
        // An opcode that a chain has added is no matter, nor is what fails.
        let others = changed(changed(own, &replaced), &[0x0c]);
        assert_eq!(suspects(&others, &own), expected);
        let witness = changed(others, &[opcode::INVALID]);
        let jumpdest = just(opcode::JUMPDEST);
        let foreign = expected.foreign ^ jumpdest;
        assert_eq!(suspects(&witness, &own), Suspects { foreign, unproven: jumpdest });
    }

    #[test]
    fn what_isnt_native_is_foreign_in_a_table_of_another_crate() {
        let Suspects { foreign, unproven } = suspects(&table(1 << 20), &table(0));
        assert_eq!(unproven, native_opcodes());
        assert!((foreign & unproven).is_zero());
        let assigned = (0..=u8::MAX).filter(|&byte| OpCode::new(byte).is_some());
        assert_eq!(foreign | unproven | just(opcode::INVALID), of(&assigned.collect::<Vec<_>>()));
        for opcode in [opcode::SLOAD, opcode::CALL, opcode::KECCAK256, opcode::NUMBER, opcode::EXP]
        {
            assert!(foreign.bit(opcode.into()), "{opcode:#x}");
        }
        // A few functions of this crate in it make it no table of this crate.
        let mut mixed = table(1 << 20);
        mixed[usize::from(opcode::ADD)] = table(0)[usize::from(opcode::ADD)];
        assert_eq!(suspects(&mixed, &table(0)).unproven, native_opcodes() ^ just(opcode::ADD));
    }
}
