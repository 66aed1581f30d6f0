//! Chaos: translations that are disturbed at random, and the one decision that breaks a program.
//!
//! `CRANEVM_CHAOS` sets the seed of all chaotic engines, in any test; a report prints it. A
//! difference that only chaos shows is an error of the translator's bookkeeping (or a perturbation
//! that isn't legal): [`blame`] says which decision brings it to light, what it did, and where.

use crate::{
    case::Case,
    engines::{Engine, NativeSettings},
    validator::{Finding, check, machine::Compilers, oracle::Oracle, settings::Setting},
};
pub use cranevm_cli::engine::CHAOS_SEED;
use cranevm_codegen::{Chaos, CompileError, Compiler, CompilerOptions, Decision};
use revm::primitives::hardfork::SpecId;
use std::fmt;

/// What a difference comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// There is no difference with all decisions.
    Nobody,
    /// There is one without any decision.
    NotChaos,
    /// This decision by itself.
    One(Decision),
    /// These two, and perhaps some between: the first that must be there, and the last.
    Several(Decision, Decision),
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("it doesn't fail again"),
            Self::NotChaos => f.write_str("it fails without chaos"),
            Self::One(decision) => write!(f, "{decision}, by itself"),
            Self::Several(first, last) => write!(f, "from {first} to {last}"),
        }
    }
}

/// The seed of `CRANEVM_CHAOS`.
///
/// # Panics
/// If that isn't a number.
pub fn seed() -> u64 {
    reseeded(Chaos::new(CHAOS_SEED)).seed
}

/// The same with the seed of `CRANEVM_CHAOS`, if that is set.
pub(crate) fn reseeded(chaos: Chaos) -> Chaos {
    let Ok(text) = std::env::var("CRANEVM_CHAOS") else { return chaos };
    match text.parse() {
        Ok(seed) => Chaos { seed, ..chaos },
        Err(error) => panic!("CRANEVM_CHAOS={text}: {error}"),
    }
}

/// Finds the decision that makes something fail, by halving what is decided: `decisions` are those
/// of `chaos`, in ascending order of their numbers.
pub fn blame(chaos: Chaos, decisions: &[Decision], mut fails: impl FnMut(Chaos) -> bool) -> Blame {
    let within = |from: usize, until: usize| {
        let number = |index: usize| decisions.get(index).map_or(u64::MAX, |known| known.number);
        chaos.within(number(from), number(until))
    };
    if fails(chaos.within(0, 0)) {
        return Blame::NotChaos;
    }
    if !fails(within(0, decisions.len())) {
        return Blame::Nobody;
    }
    // It fails with those before `last + 1`, and not with those before `passing`.
    let (mut passing, mut failing) = (0, decisions.len());
    while failing - passing > 1 {
        let middle = passing.midpoint(failing);
        if fails(within(0, middle)) { failing = middle } else { passing = middle }
    }
    let last = failing - 1;
    // It fails with those from `first`, and not with those behind it.
    let (mut first, mut beyond) = (0, failing);
    while beyond - first > 1 {
        let middle = first.midpoint(beyond);
        if fails(within(middle, failing)) { first = middle } else { beyond = middle }
    }
    match first == last {
        true => Blame::One(decisions[last]),
        false => Blame::Several(decisions[first], decisions[last]),
    }
}

/// What chaos does to a code.
///
/// # Errors
/// If it can't be compiled.
pub fn decisions(
    options: CompilerOptions,
    code: &[u8],
    spec: SpecId,
) -> Result<Vec<Decision>, CompileError> {
    Compiler::new(options)?.decisions(code, spec)
}

/// Which decision makes a case differ from the interpreter on an engine with these settings.
/// Decisions of the same number in several contracts count as one.
///
/// # Panics
/// If the settings have no chaos, or a contract can't be compiled.
pub fn blame_case(case: &Case, settings: NativeSettings) -> Blame {
    let chaos = reseeded(settings.chaos.expect("chaotic settings"));
    let options = NativeSettings { chaos: Some(chaos), ..settings }.compiler_options();
    let codes = case.accounts.values().map(|account| &account.code);
    let initcodes = case.transactions.iter().filter(|tx| tx.to.is_create()).map(|tx| &tx.data);
    let mut known: Vec<Decision> = codes
        .chain(initcodes)
        .flat_map(|code| decisions(options, code, case.spec).expect("it was compiled"))
        .collect();
    known.sort_by_key(|decision| decision.number);
    known.dedup_by_key(|decision| decision.number);
    let expected = Engine::interpreter().run(case);
    blame(chaos, &known, |chaos| {
        let engine = Engine::native(NativeSettings { chaos: Some(chaos), ..settings });
        !expected.diff(&engine.run(case)).is_empty()
    })
}

/// Which decision makes a stretch differ from the interpreter.
///
/// # Panics
/// If the subject isn't compiled code with chaos, or the code can't be compiled.
pub fn blame_stretch(finding: &Finding) -> Blame {
    let Finding { setting: Setting::Machine(options), code, state, .. } = finding else {
        panic!("no compiled code: {finding}")
    };
    let chaos = options.chaos.expect("chaotic settings");
    let known = decisions(*options, &code.bytes, code.spec).expect("it was compiled");
    let mut compilers = Compilers::new().expect("address space");
    let oracle = Oracle::new(code);
    blame(chaos, &known, |chaos| {
        let setting = Setting::Machine(CompilerOptions { chaos: Some(chaos), ..*options });
        let tried = setting.subject(&mut compilers, code).expect("it was compiled");
        check(&oracle, &tried, state).1.is_err()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranevm_codegen::Perturbation;

    const CHAOS: Chaos = Chaos::new(5);

    fn known() -> Vec<Decision> {
        let decision = |n: u64| Decision { number: 3 * n, pc: 0, what: Perturbation::Spill };
        (1..=100).map(decision).collect()
    }

    /// Whether all of some decisions are carried out.
    fn has(chaos: Chaos, numbers: &[u64]) -> bool {
        numbers.iter().all(|number| (chaos.from..chaos.until).contains(number))
    }

    #[test]
    fn one_decision_is_found() {
        let known = known();
        for decision in &known {
            let found = blame(CHAOS, &known, |chaos| has(chaos, &[decision.number]));
            assert_eq!(found, Blame::One(*decision));
        }
    }

    #[test]
    fn decisions_that_need_each_other_are_found() {
        let known = known();
        let (first, last) = (known[10], known[90]);
        let needed = [first.number, known[40].number, last.number];
        let found = blame(CHAOS, &known, |chaos| has(chaos, &needed));
        assert_eq!(found, Blame::Several(first, last));
    }

    #[test]
    fn what_chaos_has_nothing_to_do_with_is_told() {
        assert_eq!(blame(CHAOS, &known(), |_| true), Blame::NotChaos);
        assert_eq!(blame(CHAOS, &known(), |_| false), Blame::Nobody);
        assert_eq!(blame(CHAOS, &[], |_| false), Blame::Nobody);
    }
}
