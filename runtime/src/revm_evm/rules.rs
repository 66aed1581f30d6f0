//! Whether an EVM does, and charges for, what compiled code does and charges for.
//!
//! Code is compiled for the rules of a fork: revm's own instructions, the static prices of its
//! `gas_table_spec`, and the dynamic ones of `GasParams::new_spec`. An EVM may have others.
//!
//! The dynamic prices, which the host has, are compared for each frame: mostly a pointer, for revm
//! shares one table per fork (and 2 KiB where a client has a table of its own). The tables of
//! instructions and of static prices, 1.4 KiB, are compared again only where they may have changed:
//! with another fork, when they have moved, at the start of each transaction, and after anybody had
//! mutable access to the EVM. So one case goes unnoticed until then: an EVM that changes its tables
//! in place from inside its own `frame_init` of a nested frame.

use cranevm_codegen::first_replaced;
use revm::{
    bytecode::opcode::OpCode,
    context_interface::cfg::GasParams,
    interpreter::{
        GasTable, Host, InstructionTable, instructions::gas_table_spec, interpreter::EthInterpreter,
    },
    primitives::hardfork::SpecId,
};
use std::{ptr, sync::Once};

/// What an EVM goes by.
pub(super) struct Tables<'a, H> {
    pub(super) instructions: &'a InstructionTable<EthInterpreter, H>,
    pub(super) static_gas: &'a GasTable,
    pub(super) dynamic_gas: &'a GasParams,
}

impl<H> Clone for Tables<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Tables<'_, H> {}

/// What an EVM's rules were found to be.
#[derive(Default)]
pub(super) struct Rules {
    compared: Option<Compared>,
    /// Whether the client vouches for the instructions.
    trusts_instructions: bool,
    /// Those of the fork last seen.
    fork: Option<Box<Fork>>,
}

/// The prices of a fork.
struct Fork {
    spec_id: SpecId,
    static_gas: GasTable,
    dynamic_gas: GasParams,
}

/// The outcome of the last comparison of tables.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Compared {
    spec_id: SpecId,
    /// Where the tables were.
    addresses: [usize; 2],
    are_own: bool,
}

impl Rules {
    /// To be called where the tables may have changed.
    #[inline]
    pub(super) const fn doubt(&mut self) {
        self.compared = None;
    }

    /// Whether instructions are taken for revm's own without a look.
    pub(super) fn trust_instructions(&mut self, trusts: bool) {
        self.trusts_instructions = trusts;
        self.doubt();
    }

    /// Whether an EVM with these tables does what code does that is compiled for `spec_id`.
    #[inline]
    pub(super) fn are_of_fork<H: Host>(&mut self, spec_id: SpecId, tables: Tables<'_, H>) -> bool {
        let addresses =
            [ptr::from_ref(tables.instructions).addr(), ptr::from_ref(tables.static_gas).addr()];
        let fork = match &mut self.fork {
            Some(fork) if fork.spec_id == spec_id => fork,
            other => other.insert(Fork::new(spec_id)),
        };
        let are_own = match self.compared {
            Some(compared) if compared.spec_id == spec_id && compared.addresses == addresses => {
                compared.are_own
            }
            _ => {
                let are_own = has_own_prices(&fork.static_gas, tables.static_gas)
                    && (self.trusts_instructions || has_own_instructions(tables.instructions));
                self.compared = Some(Compared { spec_id, addresses, are_own });
                are_own
            }
        };
        are_own && *tables.dynamic_gas == fork.dynamic_gas
    }
}

impl Fork {
    #[cold]
    fn new(spec_id: SpecId) -> Box<Self> {
        let (static_gas, dynamic_gas) = (gas_table_spec(spec_id), GasParams::new_spec(spec_id));
        Box::new(Self { spec_id, static_gas, dynamic_gas })
    }
}

/// Whether static prices are a fork's own.
#[cold]
fn has_own_prices(own: &GasTable, prices: &GasTable) -> bool {
    // Bytes that Ethereum doesn't assign are left to the interpreter, whatever they cost.
    let matters = |byte: &u8| OpCode::new(*byte).is_some();
    own == prices
        || (0..=u8::MAX).filter(matters).map(usize::from).all(|byte| own[byte] == prices[byte])
}

/// Whether instructions that are compiled are revm's own.
#[cold]
fn has_own_instructions<H: Host>(table: &InstructionTable<EthInterpreter, H>) -> bool {
    let replaced = first_replaced(table);
    if let Some(opcode) = replaced {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            let opcode = OpCode::name_by_op(opcode);
            tracing::warn!(
                opcode,
                "an EVM has an instruction of its own for an opcode that is compiled, so its frames \
                 are interpreted; if it does what revm's does, see JitEvm::trust_instructions"
            );
        });
    }
    replaced.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::{
        bytecode::opcode::{ADD, SLOAD},
        context_interface::{cfg::GasId, host::DummyHost},
        interpreter::{Instruction, instructions::instruction_table},
    };

    const UNASSIGNED: u8 = 0x0c;

    type Table = InstructionTable<EthInterpreter, DummyHost>;

    fn are_of_fork(
        spec_id: SpecId,
        (own, prices): (&Table, &GasTable),
        params: &GasParams,
    ) -> bool {
        let tables = Tables { instructions: own, static_gas: prices, dynamic_gas: params };
        let mut rules = Rules::default();
        // The second answer comes from the kept comparison.
        let first = rules.are_of_fork(spec_id, tables);
        assert_eq!(rules.are_of_fork(spec_id, tables), first);
        first
    }

    #[test]
    fn only_the_forks_own_rules_are() {
        let spec = SpecId::CANCUN;
        let (mut own, mut prices) = (instruction_table(), gas_table_spec(spec));
        let mut params = GasParams::new_spec(spec);
        assert!(are_of_fork(spec, (&own, &prices), &params));
        assert!(!are_of_fork(SpecId::FRONTIER, (&own, &prices), &params));
        params.override_gas([(GasId::memory_linear_cost(), 4)]);
        assert!(!are_of_fork(spec, (&own, &prices), &params));
        params = GasParams::new_spec(spec);
        prices[SLOAD as usize] += 1;
        assert!(!are_of_fork(spec, (&own, &prices), &params));
        prices = gas_table_spec(spec);
        prices[UNASSIGNED as usize] = 5;
        assert!(are_of_fork(spec, (&own, &prices), &params), "it is left to the interpreter");
        own[SLOAD as usize] = Instruction::unknown();
        assert!(are_of_fork(spec, (&own, &prices), &params), "compiled code calls the table's");
        own[ADD as usize] = Instruction::unknown();
        assert!(!are_of_fork(spec, (&own, &prices), &params));
    }

    #[test]
    fn what_is_kept_follows_the_fork() {
        let (own, mut rules): (Table, _) = (instruction_table(), Rules::default());
        for spec in [SpecId::CANCUN, SpecId::FRONTIER, SpecId::CANCUN] {
            let (prices, params) = (gas_table_spec(spec), GasParams::new_spec(spec));
            let tables = Tables { instructions: &own, static_gas: &prices, dynamic_gas: &params };
            assert!(rules.are_of_fork(spec, tables));
        }
    }

    #[test]
    fn doubt_makes_it_look_again() {
        let spec = SpecId::CANCUN;
        let (mut own, mut rules): (Table, _) = (instruction_table(), Rules::default());
        let (prices, params) = (gas_table_spec(spec), GasParams::new_spec(spec));
        let mut ask = |own: &Table, is_doubted: bool| {
            if is_doubted {
                rules.doubt();
            }
            let tables = Tables { instructions: own, static_gas: &prices, dynamic_gas: &params };
            rules.are_of_fork(spec, tables)
        };
        assert!(ask(&own, false));
        // A table elsewhere is another one.
        let mut elsewhere = Box::new(own);
        elsewhere[ADD as usize] = Instruction::unknown();
        assert!(!ask(&elsewhere, false));
        assert!(ask(&own, false));
        own[ADD as usize] = Instruction::unknown();
        assert!(!ask(&own, true));
    }
}
