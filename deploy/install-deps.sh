#!/usr/bin/env bash
# Installs what efmd needs on Debian 12 or newer: only what is missing, so a second run does nothing.
#
#   deploy/install-deps.sh           what the build needs, and curl
#   deploy/install-deps.sh --test    also what tests/run.sh needs
#   deploy/install-deps.sh --list    only prints the names that are missing (with --test: of both)
set -euo pipefail

build_packages=(
  git meson ninja-build gcc libc6-dev pkg-config
  libmicrohttpd-dev libgnutls28-dev libjansson-dev libcurl4-openssl-dev libcmocka-dev
  zlib1g-dev libspng-dev libjpeg-dev libwebp-dev libstb-dev libdnnl-dev nettle-dev libsqlite3-dev libzip-dev
  curl ca-certificates
)
test_packages=(
  clang clang-format libclang-rt-dev libopenblas-pthread-dev
  jq wrk slowhttptest sqlite3 python3 python3-venv python3-numpy python3-pil prometheus valgrind procps openssl
)

# clients of the daemon that are written in JavaScript; any npm will do
command -v npm >/dev/null || test_packages+=(nodejs npm)

wanted=("${build_packages[@]}")
only_list=no
for argument in "$@"; do
  case "$argument" in
    --test) wanted+=("${test_packages[@]}") ;;
    --list) only_list=yes ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "install-deps.sh: unknown argument $argument (see --help)" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "install-deps.sh: this is not a Debian system; install the counterparts of these packages by hand:" >&2
  printf '  %s\n' "${wanted[@]}" >&2
  exit 1
fi

missing=()
for package in "${wanted[@]}"; do
  state=$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ "$state" == ii* ]] || missing+=("$package")
done

if [[ $only_list == yes ]]; then
  [[ ${#missing[@]} -eq 0 ]] || printf '%s\n' "${missing[@]}"
  exit 0
fi
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
    as_root=(sudo)
  else
    echo "install-deps.sh: packages are missing, and this is neither root nor a user with sudo." >&2
    echo "Ask an administrator to run:" >&2
    echo "  apt-get update && apt-get install --no-install-recommends -y ${missing[*]}" >&2
    exit 1
  fi
fi

echo "Installing ${#missing[@]} packages: ${missing[*]}"
run_apt() {
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 \
    -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@"
}
# The test tools bring the prometheus server for its promtool; nothing of it shall start here.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap '${as_root[@]+"${as_root[@]}"} rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | ${as_root[@]+"${as_root[@]}"} tee "$policy" >/dev/null
  ${as_root[@]+"${as_root[@]}"} chmod 755 "$policy"
fi
run_apt update
run_apt install --no-install-recommends -y "${missing[@]}" >/dev/null
