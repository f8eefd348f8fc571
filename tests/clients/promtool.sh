#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The linter of Prometheus over the metrics of an efmd that has worked: names, units, help; and the alerts, which
# say nothing of a daemon that is well and something of each thing that can be wrong.
#
#   promtool.sh EFMD   skipped (77) where promtool is not installed
set -euo pipefail
source "$(dirname "$0")/contract/common.sh"
command -v promtool >/dev/null || skip "promtool (Debian's prometheus) is not installed"
promtool check rules "$root/deploy/prometheus-alerts.yml" || fail "promtool complains of the alerts"
promtool test rules "$root/tests/clients/alerts_test.yml" || fail "the alerts do not say what they should"

start_daemon
make_world
# something of every kind: answers, refusals, a job
curl -sf -X POST "$server/v1/generate?model=exact&n=4&seed=1" -o /dev/null
curl -s "$server/v1/models/none" -o /dev/null
curl -s --json '{"vectors":"x"}' "$server/v1/transfer?model=roll" -o /dev/null
curl -sf -X POST -H 'Prefer: respond-async' "$server/v1/generate?model=exact&n=1" -o /dev/null
curl -sf "$server/metrics" >"$home/metrics"
[[ $(grep -c '^efm_' "$home/metrics") -gt 20 ]] || fail "there are hardly any metrics"
promtool check metrics <"$home/metrics" || fail "promtool complains"
echo "$self: $(grep -c '^# TYPE' "$home/metrics") metrics are clean"
