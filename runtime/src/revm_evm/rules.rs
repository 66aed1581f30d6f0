//! Whether an EVM does, and charges for, what compiled code does and charges for.
//!
//! Code is compiled for the rules of a fork: revm's own instructions, the static prices of its
//! `gas_table_spec`, and the dynamic ones of `GasParams::new_spec`. An EVM may have others. With
//! other prices it is interpreted. So it is with other instructions for opcodes that compiled code
//! does by itself, arithmetic, say; other opcodes that have instructions of the EVM's own are
//! **foreign**, and the backend compiles code that leaves them to the table (`foreign.rs`).
//!
//! The dynamic prices, which the host has, are compared for each frame: mostly a pointer, for revm
//! shares one table per fork (and 2 KiB where a client has a table of its own). The tables of
//! instructions and of static prices, 2.5 KiB, are compared again only where they may have changed:
//! with another fork, when they have moved, and after anybody had mutable access to the EVM. Who
//! has such access are the client, through [`JitEvm`](super::JitEvm), which says so each time, and
//! the EVM itself in its own methods. Those of revm's `Evm` leave its instructions alone. Another
//! type may change them in any, so its tables are compared each time that a frame runs
//! ([`keeps_its_tables`]).
//!
//! A provider of instructions hands out plain references, so without mutable access it can at most
//! hand out another table, which is elsewhere; unless by unsafe code that breaks their promise.

use crate::{program::ProgramEntry, runtime::JitBackend};
use cranevm_codegen::{OpcodeSet, TableVerdicts, native_opcodes};
use revm::{
    bytecode::opcode::OpCode,
    context::Evm,
    context_interface::cfg::GasParams,
    handler::{EthFrame, EvmTr},
    inspector::NoOpInspector,
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
    /// Has the dynamic prices.
    pub(super) host: &'a mut H,
}

/// What an EVM's rules were found to be.
#[derive(Default)]
pub(super) struct Rules {
    /// The last comparison of tables.
    compared: Option<Compared>,
    /// Whether the tables may have changed since.
    is_doubted: bool,
    /// Whether the client vouches for the instructions.
    trusts_instructions: bool,
    /// Whether the EVM is known to be revm's own, by who made it.
    is_revms: bool,
    /// The static prices of the fork last seen.
    static_gas: Option<(SpecId, Box<GasTable>)>,
    /// What the instructions were found to be.
    verdicts: TableVerdicts,
}

/// The outcome of a comparison of tables.
struct Compared {
    spec_id: SpecId,
    /// Where the tables were.
    addresses: [usize; 2],
    /// Whether static prices are the fork's, and all instructions revm's.
    are_own: bool,
    /// The opcodes whose instructions aren't known to be revm's, if static prices are the fork's.
    foreign: Option<OpcodeSet>,
    /// The fork's dynamic prices.
    dynamic_gas: GasParams,
}

impl Rules {
    /// To be called where the tables may have changed.
    #[inline]
    pub(super) const fn doubt(&mut self) {
        self.is_doubted = true;
    }

    /// To be called when a frame of an `EVM` is to run.
    #[inline]
    pub(super) fn doubt_unless_kept<EVM: EvmTr>(&mut self) {
        if !self.is_revms::<EVM>() {
            self.doubt();
        }
    }

    /// Whether an `EVM` is revm's own `Evm`, as far as is known.
    #[inline]
    pub(super) fn is_revms<EVM: EvmTr>(&self) -> bool {
        keeps_its_tables::<EVM>() || self.is_revms
    }

    /// Takes the EVM for revm's own `Evm`, whatever its inspector.
    #[cfg(feature = "alloy-evm")]
    pub(super) const fn assume_revms(&mut self) {
        self.is_revms = true;
    }

    /// Whether instructions are taken for revm's own without a look.
    pub(super) fn trust_instructions(&mut self, trusts: bool) {
        self.trusts_instructions = trusts;
        self.doubt();
    }

    /// Whether an EVM with these tables may run `program`, which was compiled for `spec_id`; or,
    /// without a program, whether it may come to run what the backend compiles. The backend gets to
    /// know what is foreign to the EVM.
    #[inline]
    pub(super) fn permit<H: Host>(
        &mut self,
        backend: &JitBackend,
        spec_id: SpecId,
        program: Option<&ProgramEntry>,
        tables: Tables<'_, H>,
    ) -> bool {
        let addresses = tables.addresses();
        match &self.compared {
            Some(compared)
                if !self.is_doubted
                    && compared.spec_id == spec_id
                    && compared.addresses == addresses =>
            {
                *tables.host.gas_params() == compared.dynamic_gas
                    && (compared.are_own || compared.permit(backend, program))
            }
            _ => self
                .compare(spec_id, tables)
                .is_some_and(|compared| compared.permit(backend, program)),
        }
    }

    /// Compares all tables, and keeps the outcome; `None` if the host has dynamic prices of its
    /// own. Then nothing is kept, for instructions can't be judged at these.
    // Not `inline(never)`: what is so may be compiled in another crate, whose copies of revm's
    // functions aren't those of the crate that made the table.
    #[cold]
    fn compare<H: Host>(&mut self, spec_id: SpecId, tables: Tables<'_, H>) -> Option<&Compared> {
        let dynamic_gas = match self.compared.take() {
            Some(compared) if compared.spec_id == spec_id => compared.dynamic_gas,
            _ => GasParams::new_spec(spec_id),
        };
        if *tables.host.gas_params() != dynamic_gas {
            return None;
        }
        let (_, static_gas) = match &mut self.static_gas {
            Some(known) if known.0 == spec_id => known,
            other => other.insert((spec_id, Box::new(gas_table_spec(spec_id)))),
        };
        let addresses = tables.addresses();
        let foreign =
            has_own_prices(static_gas, tables.static_gas).then(|| match self.trusts_instructions {
                true => OpcodeSet::ZERO,
                false => self.verdicts.of(tables.instructions, spec_id, tables.host),
            });
        let are_own = foreign == Some(OpcodeSet::ZERO);
        self.is_doubted = false;
        Some(self.compared.insert(Compared { spec_id, addresses, are_own, foreign, dynamic_gas }))
    }
}

impl Compared {
    /// Whether foreign opcodes leave it to run a program, or any.
    #[cold]
    fn permit(&self, backend: &JitBackend, program: Option<&ProgramEntry>) -> bool {
        let Some(foreign) = self.foreign else { return false };
        let native = foreign & native_opcodes();
        if !native.is_zero() {
            tell_of_replaced(native.trailing_zeros() as u8);
            return false;
        }
        backend.meet_foreign(foreign);
        program.is_none_or(|program| (program.opcodes & foreign).is_zero())
    }
}

impl<H> Tables<'_, H> {
    /// The same, for a while.
    #[inline(always)]
    pub(super) const fn reborrow(&mut self) -> Tables<'_, H> {
        let Self { instructions, static_gas, host } = self;
        Tables { instructions, static_gas, host }
    }

    #[inline(always)]
    fn addresses(&self) -> [usize; 2] {
        [ptr::from_ref(self.instructions).addr(), ptr::from_ref(self.static_gas).addr()]
    }
}

/// Whether no method of an EVM type changes its instructions or prices: whether it is revm's own
/// `Evm`, with one of revm's own inspectors. (Others can't be named here, as `EvmTr` doesn't tell
/// the inspector's type.) A constant, once compiled.
#[inline(always)]
fn keeps_its_tables<EVM: EvmTr>() -> bool {
    type Revms<EVM, INSP> = Evm<
        <EVM as EvmTr>::Context,
        INSP,
        <EVM as EvmTr>::Instructions,
        <EVM as EvmTr>::Precompiles,
        EthFrame<EthInterpreter>,
    >;
    let evm = typeid::of::<EVM>();
    evm == typeid::of::<Revms<EVM, ()>>() || evm == typeid::of::<Revms<EVM, NoOpInspector>>()
}

/// Whether static prices are a fork's own.
#[cold]
fn has_own_prices(own: &GasTable, prices: &GasTable) -> bool {
    // Bytes that Ethereum doesn't assign are left to the interpreter, whatever they cost.
    let matters = |byte: &u8| OpCode::new(*byte).is_some();
    own == prices
        || (0..=u8::MAX).filter(matters).map(usize::from).all(|byte| own[byte] == prices[byte])
}

/// Tells once why an EVM gains nothing by the backend.
fn tell_of_replaced(opcode: u8) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        let opcode = OpCode::name_by_op(opcode);
        tracing::warn!(
            opcode,
            "an EVM has an instruction of its own for an opcode that compiled code does by itself, \
             so its frames are interpreted; if it does what revm's does, see \
             JitEvm::trust_instructions"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::{
        MainnetEvm,
        bytecode::opcode::{ADD, SLOAD},
        context_interface::cfg::GasId,
        database::EmptyDB,
        handler::MainnetContext,
        interpreter::{Instruction, instructions::instruction_table},
    };

    const UNASSIGNED: u8 = 0x0c;

    type Table = InstructionTable<EthInterpreter, MainnetContext<EmptyDB>>;

    fn are_of_fork(
        spec_id: SpecId,
        (own, prices): (&Table, &GasTable),
        params: &GasParams,
    ) -> bool {
        let mut rules = Rules::default();
        // The second answer comes from the kept comparison.
        let first = ask(&mut rules, spec_id, (own, prices), params);
        assert_eq!(ask(&mut rules, spec_id, (own, prices), params), first);
        first
    }

    /// Whether an EVM may run what a backend compiles.
    fn ask(
        rules: &mut Rules,
        spec_id: SpecId,
        (instructions, static_gas): (&Table, &GasTable),
        params: &GasParams,
    ) -> bool {
        let mut host = MainnetContext::new(EmptyDB::new(), spec_id);
        host.cfg.gas_params = params.clone();
        let tables = Tables { instructions, static_gas, host: &mut host };
        rules.permit(&JitBackend::disabled(), spec_id, None, tables)
    }

    #[test]
    fn revms_own_evm_is_known_by_its_type() {
        type Own<INSP> = MainnetEvm<MainnetContext<EmptyDB>, INSP>;
        assert!(keeps_its_tables::<Own<()>>() && keeps_its_tables::<Own<NoOpInspector>>());
        // Others that are the same inside may have methods of their own.
        assert!(!keeps_its_tables::<&mut Own<()>>() && !keeps_its_tables::<Own<[(); 1]>>());
        let mut rules = Rules::default();
        rules.doubt_unless_kept::<Own<()>>();
        assert!(!rules.is_doubted);
        rules.doubt_unless_kept::<Own<[(); 1]>>();
        assert!(rules.is_doubted);
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
        assert!(are_of_fork(spec, (&own, &prices), &params), "the backend leaves it to the table");
        own[ADD as usize] = Instruction::unknown();
        assert!(!are_of_fork(spec, (&own, &prices), &params));
    }

    #[test]
    fn what_is_kept_follows_the_fork() {
        let (own, mut rules): (Table, _) = (instruction_table(), Rules::default());
        for spec in [SpecId::CANCUN, SpecId::FRONTIER, SpecId::CANCUN] {
            let (prices, params) = (gas_table_spec(spec), GasParams::new_spec(spec));
            assert!(ask(&mut rules, spec, (&own, &prices), &params));
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
            ask(&mut rules, spec, (own, &prices), &params)
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
