# shellcheck shell=bash
# Shell functions that find out which system packages are missing, and install or name them.
# Source this file; it does nothing by itself. Strict mode is the caller's, and set here again
# so that the file is checked with it.
set -euo pipefail

# Prints the Debian package of every requirement that is not met, one per line.
# A requirement is `command:package`. `python-venv` stands for Python's own venv module, which
# Debian packs apart from Python.
missing_packages() {
  local requirement command package
  for requirement in "$@"; do
    command=${requirement%%:*}
    package=${requirement#*:}
    if [[ $command == python-venv ]]; then
      python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || echo "$package"
    else
      # Servers live in sbin, which is not on everybody's path.
      PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$command" >/dev/null || echo "$package"
    fi
  done | sort -u
}

# Installs what is missing if this is root on Debian or Ubuntu. Otherwise names it and fails.
ensure_packages() {
  local missing=()
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    return 0
  fi
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "missing system packages: ${missing[*]} (as root: apt-get install ${missing[*]})" >&2
    return 1
  fi
  echo "installing system packages: ${missing[*]}"
  install_packages "${missing[@]}"
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} > 0)); then
    echo "still missing after the installation: ${missing[*]}" >&2
    return 1
  fi
}

# Runs apt-get without questions, and without starting the servers it installs: a test or a demo
# must not put a web server on port 80.
install_packages() (
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  install=(apt-get install --yes --no-install-recommends --quiet=2 -o Dpkg::Use-Pty=0)
  # The package lists may be fresh already, and then an update would only cost time.
  if ! "${install[@]}" "$@" >/dev/null 2>&1; then
    echo "updating the package lists"
    apt-get update --quiet=2
    "${install[@]}" "$@" >/dev/null
  fi
)

# Fails with one sentence if there is no Rust toolchain; installing one is the user's decision.
ensure_rust() {
  if ! command -v cargo >/dev/null; then
    echo "cargo is not on the path: install a Rust toolchain of at least 1.95 with rustup first" >&2
    return 1
  fi
}
