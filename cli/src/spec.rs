//! Names of forks on the command line.

use revm::primitives::hardfork::{SpecId, UnknownHardfork};

/// All forks, from the oldest.
pub fn all() -> impl Iterator<Item = SpecId> {
    (0..=SpecId::NEXT as u8).filter_map(SpecId::try_from_u8)
}

/// Parses a fork's name as revm's `SpecId::from_str`, in any case.
///
/// The error lists the valid names.
pub fn parse(name: &str) -> Result<SpecId, String> {
    let mut capitalised = name.to_ascii_lowercase();
    if let Some(first) = capitalised.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    capitalised.parse().map_err(|UnknownHardfork| {
        let names: Vec<&str> = all().map(<&str>::from).collect();
        format!("unknown fork {name:?}; the forks are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fork_parses_in_any_case() {
        assert_eq!(all().count(), SpecId::NEXT as usize + 1);
        for spec in all() {
            let name = <&str>::from(spec);
            assert_eq!(parse(name), Ok(spec));
            assert_eq!(parse(&name.to_lowercase()), Ok(spec));
            assert_eq!(parse(&name.to_uppercase()), Ok(spec));
        }
    }

    #[test]
    fn an_unknown_fork_is_answered_with_the_list() {
        for name in ["", "é", "Constantinople"] {
            let error = parse(name).unwrap_err();
            assert!(error.contains("Frontier") && error.contains("Amsterdam"), "{error}");
        }
    }
}
