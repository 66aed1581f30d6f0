#!/usr/bin/env bash
# Measures contracts at the levels `none` and `default` and prints the tables of docs/performance.md.
# Arguments: names of shipped contracts, or fixtures; without any, all shipped contracts.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
contracts=("$@")
if [ ${#contracts[@]} -eq 0 ]; then
    contracts=(token_transfer pair_swap soft_hash ray_march big_loop storage_churn proxy large_24k)
fi

# One build for both programs: apart, they would enable different features of what they share.
root="$here/.."
programs="${CARGO_TARGET_DIR:-$root/target}/release"
cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p cranevm-cli -p cranevm-benches
lines="$(mktemp)"
trap 'rm -f "$lines"' EXIT
for level in none default; do
    "$programs/cranevm" bench --json --opt "$level" "${contracts[@]}" >>"$lines"
done
"$programs/report" <"$lines"
