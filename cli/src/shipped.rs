//! The contracts that come with the program.
//!
//! Their sources are in `benches/contracts`; each is a fixture, so it brings the transaction that
//! exercises it.

use crate::{Contract, Fixture, InputError};
use std::path::Path;

/// A contract embedded in the program.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name on the command line.
    pub name: &'static str,
    /// The fixture's text.
    json: &'static str,
}

impl Shipped {
    /// Parses the fixture.
    pub fn load(&self) -> Result<Contract, InputError> {
        let mut fixtures = Fixture::parse(self.name, self.json.as_bytes())?;
        Ok(Contract::from(fixtures.swap_remove(0)))
    }
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        [$(Shipped {
            name: $name,
            json: include_str!(concat!("../../benches/contracts/", $name, ".json")),
        }),*]
    };
}

/// All of them, in the order of the documentation.
static ALL: [Shipped; 8] = shipped![
    "token_transfer",
    "pair_swap",
    "soft_hash",
    "ray_march",
    "big_loop",
    "storage_churn",
    "proxy",
    "large_24k",
];

/// All shipped contracts.
pub fn all() -> &'static [Shipped] {
    &ALL
}

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|contract| contract.name)
}

/// The fixtures that an argument means: those of a file, or a shipped contract by its name.
pub fn fixtures(argument: &str) -> Result<Vec<Fixture>, InputError> {
    match find(argument) {
        Some(contract) => Ok(vec![contract.load()?.into_fixture()]),
        None => Fixture::read(Path::new(argument)),
    }
}

/// The shipped contract called `name`.
pub fn find(name: &str) -> Option<&'static Shipped> {
    ALL.iter().find(|contract| contract.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EngineRunner, observation::describe};

    #[test]
    fn each_runs_successfully() {
        for contract in all() {
            let loaded = contract.load().unwrap();
            assert_eq!(loaded.name, contract.name);
            assert!(!loaded.code.is_empty(), "{} has no code", contract.name);
            let fixture = loaded.into_fixture();
            let environment = fixture.environment(fixture.default_spec());
            let mut session = EngineRunner::interpreter().session(&environment, fixture.database());
            let result = session.run().unwrap().result;
            assert!(result.is_success(), "{}: {}", contract.name, describe(&result));
        }
    }
}
