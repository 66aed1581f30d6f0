#!/usr/bin/env bash
# Regenerates the bytecode (*.hex) and the fixtures (*.json) of this folder from the sources.
# Needs node and npm; a development step, never part of a build. The output is reproducible: the
# compiler's version is pinned, and its metadata, which would hash paths, is left out.
set -euo pipefail

cd "$(dirname "$0")"
tools="${CRANEVM_SOLC_DIR:-${TMPDIR:-/tmp}/cranevm-solc}"
if [ ! -d "$tools/node_modules/solc" ]; then
    npm install --silent --no-fund --no-audit --prefix "$tools" solc@0.8.30
fi
NODE_PATH="$tools/node_modules" node build/main.cjs
