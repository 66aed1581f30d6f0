//! Programs as clients of revmc's runtime are written: a node that configures the backend by its
//! command line and steers it by RPC, one whose EVM lives for ever, one with a store of its own, a
//! chain with a handler of its own, one that switches off by fork, one that replays blocks.
//!
//! What matters first is that this compiles with the crate under revmc's name: each line is one
//! that a field, a variant, a bound or a `const` less would break. Then, that what they rely on
//! holds: `docs/behaviour.md`.

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

mod chain;
mod executor;
mod forks;
mod node;
mod programs;
mod replayer;
mod store;

/// Features of revmc's manifest are accepted, and change nothing.
#[test]
fn features_of_revmc_are_in_the_manifest() {
    let manifest = include_str!("../../runtime/Cargo.toml");
    for feature in ["llvm", "llvm-prefer-static", "llvm-prefer-dynamic", "alloy-evm", "asm-keccak"]
    {
        assert!(manifest.contains(&format!("\n{feature} = ")), "{feature}");
    }
}
