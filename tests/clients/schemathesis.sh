#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# schemathesis makes requests from the contract, right ones and wrong ones, and holds the answers against it.
#
#   schemathesis.sh EFMD   skipped (77) where schemathesis cannot be installed
#
# CLIENTS_SECONDS   that it may take at most [45]
set -euo pipefail
source "$(dirname "$0")/contract/common.sh"

venv=$CLIENTS_DIR/schemathesis
if ! cmp -s "$contract/requirements.txt" "$venv/installed"; then
  command -v python3 >/dev/null || skip "python3 is not installed"
  rm -rf "$venv"
  python3 -m venv "$venv" >"$home/install" 2>&1 || skip "python3 makes no venv (Debian's python3-venv)"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --cache-dir "$CLIENTS_DIR/pip-cache" \
    -r "$contract/requirements.txt" >"$home/install" 2>&1 ||
    { tail -n 3 "$home/install" >&2; skip "pip cannot install schemathesis"; }
  cp "$contract/requirements.txt" "$venv/installed"
fi

start_daemon --timeout 5 --log-level warning
make_world
export EFM_SERVER=$server
cd "$home"
"$venv/bin/schemathesis" --config-file "$contract/schemathesis.toml" run "$server/openapi.json" \
  --phases examples,coverage,fuzzing,stateful --max-time "${CLIENTS_SECONDS:-45}" || fail "schemathesis complains"
echo "answers by status:"
curl -sf "$server/metrics" | sed -n 's/^efm_http_requests_total{.*code="\([0-9]*\)"} \([0-9]*\)$/\1 \2/p' |
  awk '{ n[$1] += $2 } END { for (s in n) print "  " s, n[s] }' | sort
curl -sf -o /dev/null "$server/livez" || fail "efmd does not live any more"
echo "$self: every answer is as the contract says"
