#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# schemathesis makes requests from the contract, right ones and wrong ones, and holds the answers against it.
#
#   schemathesis.sh EFMD   skipped (77) where schemathesis cannot be installed
#
# CLIENTS_SECONDS   that it may take at most [60]
# CLIENTS_SEED      of what it makes [20]
set -euo pipefail
source "$(dirname "$0")/contract/common.sh"

install_python contract
start_daemon --timeout 5 --log-level warning
make_world
export EFM_SERVER=$server
cd "$home"
"$venv/bin/schemathesis" --config-file "$contract/schemathesis.toml" run "$server/openapi.json" \
  --phases examples,coverage,fuzzing,stateful --max-time "${CLIENTS_SECONDS:-60}" \
  --seed "${CLIENTS_SEED:-20}" || fail "schemathesis complains"
echo "answers by status:"
curl -sf "$server/metrics" | sed -n 's/^efm_http_requests_total{.*code="\([0-9]*\)"} \([0-9]*\)$/\1 \2/p' |
  awk '{ n[$1] += $2 } END { for (s in n) print "  " s, n[s] }' | sort
curl -sf -o /dev/null "$server/livez" || fail "efmd does not live any more"
echo "$self: every answer is as the contract says"
