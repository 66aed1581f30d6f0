//! Whether an EVM charges what compiled code charges.
//!
//! Code is compiled for the prices of a fork: static ones from revm's `gas_table_spec`, dynamic
//! ones from `GasParams::new_spec`. An EVM may charge others. Comparing costs a few nanoseconds a
//! frame: 512 bytes of static prices, and for the dynamic ones a pointer, for revm shares one table
//! per fork (and 2 KiB where a client has a table of its own).

use revm::{
    context_interface::cfg::GasParams,
    interpreter::{GasTable, instructions::gas_table_spec},
    primitives::hardfork::SpecId,
};

/// The prices of one fork.
pub(super) struct ForkSchedule {
    spec_id: SpecId,
    static_gas: GasTable,
    dynamic_gas: GasParams,
}

impl ForkSchedule {
    /// Whether these are the prices of `spec_id`; keeps the fork's schedule in `slot` for the next
    /// time.
    #[inline]
    pub(super) fn matches(
        slot: &mut Option<Box<Self>>,
        spec_id: SpecId,
        static_gas: &GasTable,
        dynamic_gas: &GasParams,
    ) -> bool {
        let schedule = match slot {
            Some(schedule) if schedule.spec_id == spec_id => schedule,
            _ => slot.insert(Box::new(Self::new(spec_id))),
        };
        schedule.static_gas == *static_gas && schedule.dynamic_gas == *dynamic_gas
    }

    #[cold]
    fn new(spec_id: SpecId) -> Self {
        Self {
            spec_id,
            static_gas: gas_table_spec(spec_id),
            dynamic_gas: GasParams::new_spec(spec_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::{bytecode::opcode::SLOAD, context_interface::cfg::GasId};

    fn matches(spec_id: SpecId, table: &GasTable, params: &GasParams) -> bool {
        let mut slot = None;
        // The second answer comes from the kept schedule.
        let first = ForkSchedule::matches(&mut slot, spec_id, table, params);
        let second = ForkSchedule::matches(&mut slot, spec_id, table, params);
        assert_eq!(first, second);
        first
    }

    #[test]
    fn only_the_forks_own_prices_match() {
        let spec = SpecId::CANCUN;
        let (mut table, mut params) = (gas_table_spec(spec), GasParams::new_spec(spec));
        assert!(matches(spec, &table, &params));
        assert!(!matches(SpecId::FRONTIER, &table, &params));
        params.override_gas([(GasId::memory_linear_cost(), 4)]);
        assert!(!matches(spec, &table, &params));
        params = GasParams::new_spec(spec);
        table[SLOAD as usize] += 1;
        assert!(!matches(spec, &table, &params));
    }

    #[test]
    fn the_kept_schedule_follows_the_fork() {
        let mut slot = None;
        for spec in [SpecId::CANCUN, SpecId::FRONTIER, SpecId::CANCUN] {
            let (table, params) = (gas_table_spec(spec), GasParams::new_spec(spec));
            assert!(ForkSchedule::matches(&mut slot, spec, &table, &params));
        }
    }
}
