#!/usr/bin/env bash
# Regenerates the numbers of docs/performance.md: measures, prints the tables as Markdown, and
# writes the charts of docs/plots.
#
#   benches/report.sh [FIXTURE...]
#
# FIXTURE: names of shipped contracts, or .json fixtures; without any, all shipped contracts and
# those of CRANEVM_FIXTURES (default ../shared/fixtures), if there. From there come the many
# contracts of the compile tables and chart, too. With arguments no chart is written.
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
data="${CRANEVM_FIXTURES:-$root/../shared/fixtures}"
shipped=(token_transfer pair_swap soft_hash ray_march big_loop storage_churn proxy large_24k)
levels=(none default)

programs="${CARGO_TARGET_DIR:-$root/target}/release"
# One selection for all programs: apart, they would enable different features of what they share.
cargo build --quiet --release --manifest-path "$root/Cargo.toml" --workspace
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# measure OUT FIXTURE...
measure() {
    local out="$1" level
    shift
    for level in "${levels[@]}"; do
        "$programs/cranevm" bench --json --opt "$level" "$@" >>"$out"
    done
}

if [ $# -gt 0 ]; then
    measure "$work/bench" "$@"
    "$programs/report" <"$work/bench"
    exit
fi

printf '### The shipped contracts\n\n'
measure "$work/shipped" "${shipped[@]}"
"$programs/report" <"$work/shipped"
cat "$work/shipped" >"$work/bench"

if compgen -G "$data/bench/*.json" >/dev/null; then
    printf '\n### Contracts from the mainnet and from other projects'"'"' benchmarks\n\n'
    measure "$work/others" "$data"/bench/*.json
    "$programs/report" <"$work/others"
    cat "$work/others" >>"$work/bench"
fi
mkdir -p "$root/docs/plots"
"$programs/plot" speed "$work/bench" >"$root/docs/plots/speed_up.svg"

if [ -e "$data/contracts.jsonl.xz" ]; then
    printf '\n### Many contracts\n\n'
    for level in "${levels[@]}"; do
        "$programs/cranevm" compile --json --opt "$level" "$data/contracts.jsonl.xz" >>"$work/compile"
    done
    "$programs/report" --corpus <"$work/compile"
    "$programs/plot" compile "$work/compile" >"$root/docs/plots/compile_time.svg"
fi
