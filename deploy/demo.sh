#!/usr/bin/env bash
# Builds tidegate and runs its demo: one balancer in front of three real local regions.
# Arguments are passed on to `tidegate demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/packages.sh
source deploy/packages.sh

ensure_rust
ensure_packages cc:build-essential make:build-essential cmake:cmake

echo "building tidegate with optimisation: about four minutes the first time, then it starts"
cargo build --release --locked --bin tidegate

exec "${CARGO_TARGET_DIR:-target}/release/tidegate" demo "$@"
