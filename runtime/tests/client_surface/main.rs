//! The interface as clients of revmc's runtime use it: a node that configures the backend from its
//! command line, one that keeps it in types of its own, one with a store of its own, one that warms
//! up a list of contracts. What matters is that this compiles with the crate under revmc's name:
//! each line is one that a field, a variant, a bound or a `const` less would break.

#[path = "../common/mod.rs"]
mod common;

mod executor;
mod node;
mod programs;
mod store;

/// Features of revmc's manifest are accepted, and change nothing.
#[test]
fn features_of_revmc_are_in_the_manifest() {
    let manifest = include_str!("../../Cargo.toml");
    for feature in ["llvm", "llvm-prefer-static", "llvm-prefer-dynamic", "alloy-evm", "asm-keccak"]
    {
        assert!(manifest.contains(&format!("\n{feature} = ")), "{feature}");
    }
}
