#!/usr/bin/env bash
# Runs every check and every test, from a fresh Debian or Ubuntu machine that has a Rust toolchain.
#
# As root it installs the system packages that are missing; otherwise it names them and stops.
# Everything else it needs goes into target/. The last line is `N passed, N failed`: tests and
# documentation tests by number, and each check that failed counts as one more failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/packages.sh
source deploy/packages.sh

# The run means the same everywhere: not what a build service, a shell or a proxy setting adds.
unset CI RUSTFLAGS RUSTDOCFLAGS RUST_LOG NEXTEST_PROFILE CARGO_TARGET_DIR CARGO_BUILD_TARGET
export CARGO_TERM_COLOR=never CARGO_TERM_PROGRESS_WHEN=never RUST_BACKTRACE=0
export no_proxy="${no_proxy:+$no_proxy,}127.0.0.1,localhost,::1"
export NO_PROXY=$no_proxy
export PATH="$PWD/target/tools/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"

nextest_version=0.9.143
deny_version=0.20.2
typos_version=1.52.0
venv=target/test-venv
logs=target/run
passed=0
failed=0
failures=()

# Prints a headline, runs a command, and prints how long it took. A failure is remembered, and the
# next step still runs: one run names everything that is wrong.
step() {
  local name=$1 begin=$SECONDS status=ok
  shift
  printf '\n== %s\n' "$name"
  "$@" || status=FAILED
  printf '== %s: %s, %d s\n' "$name" "$status" "$((SECONDS - begin))"
  if [[ $status != ok ]]; then
    failures+=("$name")
    return 1
  fi
}

# A check has no number of its own: it holds, or it is one failure.
check() {
  step "$@" || failed=$((failed + 1))
}

# Without this nothing that follows means anything.
require() {
  if ! step "$@"; then
    printf '0 passed, 1 failed\n'
    exit 1
  fi
}

# Files that git knows or would add, in a checkout that may belong to somebody else.
repository_files() {
  git -c safe.directory='*' ls-files --cached --others --exclude-standard -- "$@"
}

shell_scripts() {
  local scripts=()
  mapfile -t scripts < <(repository_files '*.sh' .ci/run)
  shellcheck --external-sources "${scripts[@]}"
}

# Installs a tool of Cargo's unless it is there. It is not optimised: it runs for seconds, and
# optimising takes minutes.
cargo_tool() {
  local tool=$1 version=$2
  if ! command -v "$tool" >/dev/null; then
    cargo install --locked --debug --root target/tools --version "$version" "$tool"
  fi
}

tools() {
  cargo_tool cargo-nextest "$nextest_version" && cargo_tool cargo-deny "$deny_version"
}

# Makes the Python environment of the test clients again when anything it is made from changed.
python_packages() {
  local requirements=tests/clients/requirements.txt wanted
  wanted=$({ python3 --version && echo "typos $typos_version" && cat "$requirements"; } | sha256sum)
  if [[ -f $venv/stamp && $(<"$venv/stamp") == "$wanted" ]]; then
    echo "$venv is up to date"
    return 0
  fi
  rm -rf "$venv" &&
    python3 -m venv "$venv" &&
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
      --requirement "$requirements" "typos==$typos_version" &&
    echo "$wanted" >"$venv/stamp"
}

all_tests() {
  cargo nextest run --workspace --locked 2>&1 | tee "$logs/tests.log"
}

documentation_tests() {
  cargo test --doc --workspace --locked 2>&1 | tee "$logs/documentation.log"
}

# Debug builds of everything are there from the tests, so the rig is tried in seconds.
load_rig() {
  if (($(nproc) < 2)); then
    echo "skipped: the load bench needs two cores"
    return 0
  fi
  cargo bench --locked --profile dev --bench load -- --smoke
}

# Adds what a run of tests counted. A run that broke off before it counted a failure has one.
count() {
  local status=$1 ours=$2 theirs=$3
  if ((status != 0 && theirs == 0)); then
    theirs=1
  fi
  passed=$((passed + ours))
  failed=$((failed + theirs))
}

count_tests() {
  local status=$1 summary
  summary=$(grep -E '^ *Summary \[' "$logs/tests.log" | tail -n 1) || true
  if [[ $summary =~ ([0-9]+)\ tests?\ run:\ ([0-9]+)\ passed ]]; then
    count "$status" "${BASH_REMATCH[2]}" "$((BASH_REMATCH[1] - BASH_REMATCH[2]))"
  else
    count "$status" 0 0
  fi
}

count_documentation_tests() {
  local status=$1 sums
  sums=$(awk '/^test result:/ { for (i = 2; i <= NF; i++) { if ($i == "passed;") p += $(i - 1); if ($i == "failed;") f += $(i - 1) } }
    END { print p + 0, f + 0 }' "$logs/documentation.log")
  count "$status" "${sums% *}" "${sums#* }"
}

ensure_rust
ensure_packages cc:build-essential make:build-essential cmake:cmake git:git curl:curl \
  python3:python3 python-venv:python3-venv node:nodejs nginx:nginx haproxy:haproxy wrk:wrk \
  redis-server:redis-server openssl:openssl ip:iproute2 shellcheck:shellcheck ps:procps \
  taskset:util-linux setpriv:util-linux
mkdir -p "$logs"
: >"$logs/tests.log"
: >"$logs/documentation.log"

require "tools" tools
require "packages of the test clients" python_packages
require "download" cargo fetch --locked

check "format" cargo fmt --all --check
check "shell scripts" shell_scripts
check "spelling" "$venv/bin/typos"
check "licences and walls" cargo deny --offline check licenses bans sources
check "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
status=0
step "tests" all_tests || status=1
count_tests "$status"
status=0
step "documentation tests" documentation_tests || status=1
count_documentation_tests "$status"
check "load rig" load_rig

printf '\n'
if ((${#failures[@]} > 0)); then
  printf 'failed in %d s: %s\n' "$SECONDS" "$(IFS=,; echo "${failures[*]}")"
else
  printf 'all done in %d s\n' "$SECONDS"
fi
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
