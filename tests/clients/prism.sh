#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The HTTP suite with prism between the tests and the daemon: every request and every answer is held against the contract.
#
#   prism.sh EFMD [TESTS]    TESTS: the folder of the test_http_* programs [tests/http of EFMD's build]
#                            skipped (77) where prism cannot be installed
#
# CLIENTS_PRISM_TESTS   which of them, by name [all but those below]
set -euo pipefail
source "$(dirname "$0")/contract/common.sh"
install_npm
tests=${2:-$(dirname "$(dirname "$efmd")")/tests/http}

# Tests that measure what a process between them and the daemon changes; each with its reason.
declare -A besides=(
)

echo "== prism proxy --errors: what the contract shows by example"
start_daemon
make_world
source "$contract/examples.sh"

echo "== the HTTP suite"
export EFMD=$efmd TEST_PROXY=$contract/proxy.sh TEST_PROXY_LOG=$home/exchanges TEST_DATA=$root/tests/data
export TEST_PATIENCE=${TEST_PATIENCE:-4}
failed=()
for program in "$tests"/test_http_*; do
  name=${program##*/test_http_}
  [[ -x $program && ! -d $program ]] || continue
  [[ -z ${CLIENTS_PRISM_TESTS:-} || " $CLIENTS_PRISM_TESTS " == *" $name "* ]] || continue
  if [[ -n ${besides[$name]:-} ]]; then
    echo "not through prism: $name: ${besides[$name]}"
    continue
  fi
  begun=$SECONDS
  if timeout 120 "$program" >"$home/out" 2>&1; then
    echo "ok: $name ($((SECONDS - begun)) s)"
  else
    grep -E '^\[  (FAILED|ERROR)|error:|broken' "$home/out" | head -n 40 || tail -n 40 "$home/out"
    failed+=("$name")
  fi
done
node "$contract/summary.js" "$home/exchanges" || failed+=(contract)
[[ ${#failed[@]} -eq 0 ]] || fail "failed: ${failed[*]}"
