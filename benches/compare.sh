#!/usr/bin/env bash
# Compares two revisions: compile time, code size and execution, as a Markdown table.
#
#   benches/compare.sh REV_A REV_B [FIXTURE...]
#
# FIXTURE: names of shipped contracts, or .json fixtures; without any, all shipped contracts. Both
# revisions are built in worktrees of their own (in one target directory: target/compare), and
# measured in turn, ROUNDS times (default 3). Where Valgrind is installed and a revision has the
# program `instructions`, executed instructions are counted as well.
# LEVELS: the optimization levels (default "none default").
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
root="$(cd "$(dirname "$0")/.." && pwd)"
# By hash, from the start: HEAD may become another while the first revision is built.
revisions=()
for revision in "$1" "$2"; do
    revisions+=("$(git -C "$root" rev-parse --verify --quiet "$revision^{commit}")") || {
        echo "$revision isn't a revision" >&2
        exit 2
    }
done
shift 2
fixtures=()
for fixture in "$@"; do
    # The measurements run elsewhere.
    if [ -e "$fixture" ]; then fixture="$(realpath "$fixture")"; fi
    fixtures+=("$fixture")
done
if [ ${#fixtures[@]} -eq 0 ]; then
    fixtures=(token_transfer pair_swap soft_hash ray_march big_loop storage_churn proxy large_24k)
fi
read -r -a levels <<<"${LEVELS:-none default}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target/compare}"

describe() { git -C "$root" log -1 --format='`%h` %s' "$1"; }

work="$(mktemp -d)"
cleanup() {
    for index in 0 1; do
        git -C "$root" worktree remove --force "$work/tree$index" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT

for index in 0 1; do
    git -C "$root" worktree add --quiet --detach "$work/tree$index" "${revisions[$index]}"
    echo "building $(describe "${revisions[$index]}")" >&2
    cargo build --quiet --release --workspace --manifest-path "$work/tree$index/Cargo.toml"
    mkdir "$work/programs$index"
    cp "$CARGO_TARGET_DIR/release/cranevm" "$work/programs$index/"
    # An older revision has no such program; one left by the other revision isn't its own.
    if [ -e "$work/tree$index/benches/instructions.rs" ]; then
        cp "$CARGO_TARGET_DIR/release/instructions" "$work/programs$index/"
    fi
    : >"$work/lines$index"
done

for round in $(seq "${ROUNDS:-3}"); do
    echo "round $round" >&2
    for level in "${levels[@]}"; do
        for index in 0 1; do
            "$work/programs$index/cranevm" bench --json --opt "$level" "${fixtures[@]}" \
                >>"$work/lines$index"
        done
    done
done
for index in 0 1; do
    counter="$work/programs$index/instructions"
    if ! command -v valgrind >/dev/null || [ ! -x "$counter" ]; then
        echo "${revisions[$index]}: no instruction counts: they need valgrind and benches/instructions.rs" >&2
        continue
    fi
    echo "counting instructions of ${revisions[$index]}" >&2
    "$counter" --json --opt "$(IFS=,; echo "${levels[*]}")" "${fixtures[@]}" >>"$work/lines$index"
done

printf 'From %s\nto %s:\n\n' "$(describe "${revisions[0]}")" "$(describe "${revisions[1]}")"
# The table is made by this checkout's program, whatever the revisions are; built like theirs, for
# another selection of packages would have other features, and compile everything again.
cargo build --quiet --release --workspace --manifest-path "$root/Cargo.toml"
"$CARGO_TARGET_DIR/release/compare" "$work/lines0" "$work/lines1"
