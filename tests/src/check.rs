//! Running a hand-written case on every engine and failing on the first difference.

use crate::{
    assembly::disassemble,
    case::{Case, TARGET},
    engines::{Engine, NativeSettings},
    observation::Observation,
};
use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

/// Most gas of a generated program that runs with forced hand-overs.
const MAX_HAND_OVER_GAS: u64 = 400_000;

/// The interpreter and the native engines that a test compares it with.
#[derive(Debug)]
pub struct Checker {
    interpreter: Engine,
    natives: Vec<Engine>,
    tally: Mutex<Tally>,
}

/// What the comparisons of a [`Checker`] came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Native executions compared, all equal in everything.
    pub compared: u64,
}

impl Tally {
    /// Adds the counts of another tally.
    pub const fn add(&mut self, other: &Self) {
        self.compared += other.compared;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} native runs", self.compared)
    }
}

/// A difference: a miscompilation.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// Name of the engine.
    pub engine: String,
    /// The differences, one a line.
    pub diff: String,
}

impl Checker {
    /// A checker of all settings.
    pub fn new() -> Self {
        Self::of(NativeSettings::all())
    }

    /// A checker of some settings.
    pub fn of(settings: impl IntoIterator<Item = NativeSettings>) -> Self {
        Self::of_engines(settings.into_iter().map(Engine::native))
    }

    /// A checker of some engines.
    pub fn of_engines(natives: impl IntoIterator<Item = Engine>) -> Self {
        let natives = natives.into_iter().collect();
        Self { interpreter: Engine::interpreter(), natives, tally: Mutex::default() }
    }

    /// Runs a case on every engine. Returns the interpreter's observation.
    ///
    /// # Panics
    /// If an engine differs, or ran the case without native code.
    #[track_caller]
    pub fn check(&self, case: &Case) -> Observation {
        let expected = self.interpreter.run(case);
        for engine in &self.natives {
            if let Err(mismatch) = self.compare(engine, case, &expected) {
                panic!("{}", report(case, &mismatch));
            }
        }
        expected
    }

    /// Like [`check`](Self::check), for code that an engine may decline to compile.
    ///
    /// # Panics
    /// If an engine differs.
    #[track_caller]
    pub fn check_even_if_interpreted(&self, case: &Case) {
        let expected = self.interpreter.run(case);
        for engine in &self.natives {
            let diff = expected.diff(&engine.run(case));
            let mismatch = || Mismatch { engine: engine.name().to_owned(), diff: diff.to_string() };
            assert!(diff.is_empty(), "{}", report(case, &mismatch()));
        }
    }

    /// Runs a case on every engine and returns the first difference.
    pub fn find_mismatch(&self, case: &Case) -> Option<Mismatch> {
        let expected = self.interpreter.run(case);
        self.natives.iter().find_map(|engine| self.compare_capped(engine, case, &expected).err())
    }

    /// Runs a case on the first `always` engines and on one of the others, chosen by `turn`: for
    /// generated programs, where the rarer settings take turns. Returns the interpreter's
    /// observation and the first difference.
    pub fn compare_some(
        &self,
        case: &Case,
        always: usize,
        turn: u64,
    ) -> (Observation, Option<Mismatch>) {
        let expected = self.interpreter.run(case);
        let (first, rest) = self.natives.split_at(always.min(self.natives.len()));
        let turn = (!rest.is_empty()).then(|| &rest[turn as usize % rest.len()]);
        let mut engines = first.iter().chain(turn);
        let mismatch =
            engines.find_map(|engine| self.compare_capped(engine, case, &expected).err());
        (expected, mismatch)
    }

    /// Compares with less gas where native code is entered and left all the time: millions of
    /// such entries would test nothing more.
    fn compare_capped(
        &self,
        engine: &Engine,
        case: &Case,
        want: &Observation,
    ) -> Result<(), Mismatch> {
        let is_long = case.transactions.iter().any(|tx| tx.gas_limit > MAX_HAND_OVER_GAS);
        if !(is_long && engine.forces_hand_overs()) {
            return self.compare(engine, case, want);
        }
        let case = case.clone().gas(MAX_HAND_OVER_GAS);
        self.compare(engine, &case, &self.interpreter.run(&case))
    }

    fn compare(&self, engine: &Engine, case: &Case, want: &Observation) -> Result<(), Mismatch> {
        let actual = engine.run(case);
        let diff = want.diff(&actual);
        if !diff.is_empty() {
            let diff = diff.to_string();
            return Err(Mismatch { engine: engine.name().to_owned(), diff });
        }
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).compared += 1;
        if actual.all_executed() {
            engine.assert_compiled(case);
        }
        Ok(())
    }

    /// The engines that are compared with the interpreter.
    pub fn natives(&self) -> &[Engine] {
        &self.natives
    }

    /// The counts so far.
    pub fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the native code of all engines.
    pub fn clear(&self) {
        self.natives.iter().for_each(Engine::clear);
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

/// A mismatch as text: the differences, what reproduces it, and the called code as assembly.
pub fn report(case: &Case, mismatch: &Mismatch) -> String {
    let Mismatch { engine, diff } = mismatch;
    let code = case.accounts.get(&TARGET).map(|account| account.code.clone()).unwrap_or_default();
    // Long code is readable enough as the hex of the case.
    let text = if code.len() <= 2048 { disassemble(&code) } else { String::new() };
    format!("{engine} differs from the interpreter:\n{diff}\n{case}\n{text}")
}

/// Runs a case on every engine of a fresh [`Checker`].
///
/// # Panics
/// As [`Checker::check`].
#[track_caller]
pub fn check(case: &Case) -> Observation {
    Checker::new().check(case)
}
