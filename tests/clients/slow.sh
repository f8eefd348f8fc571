#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Hundreds of clients that send headers or bodies, or read answers, a few bytes at a time (slowhttptest), while others are
# served: their 99th percentile is not much above what it is in peace, and the slow ones are gone after their time.
#
#   slow.sh EFMD       skipped (77) where slowhttptest is not installed
set -euo pipefail
source "$(dirname "$0")/contract/common.sh"
command -v slowhttptest >/dev/null || skip "slowhttptest (Debian has it) is not installed"

clients=300 seconds=12
start_daemon --header-timeout 4 --body-timeout 6 --idle-timeout 5
make_world

# measure SECONDS : the 99th percentile of /transfer, in milliseconds, over one connection after the other
measure() {
  python3 - "$server" "$1" <<'PYTHON'
import http.client, sys, time, urllib.parse
host = urllib.parse.urlsplit(sys.argv[1]).netloc
body, times, end = b'{"vectors":[[0.1,-0.7]],"model":"roll","steps":5}', [], time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    connection = http.client.HTTPConnection(host, timeout=10)
    for _ in range(10):
        begun = time.monotonic()
        connection.request("POST", "/transfer", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        times.append(time.monotonic() - begun)
        if answer.status != 200:
            sys.exit(f"status {answer.status}")
    connection.close()
times.sort()
print(f"{times[int(len(times) * 0.99)] * 1e3:.1f} {len(times)}")
PYTHON
}

read -r peace count < <(measure 4)
echo "in peace: p99 $peace ms over $count requests"
# attack NAME OPTIONS... : the figures beside it
attack() {
  local name=$1 p99 count
  shift
  slowhttptest -c $clients -r 150 -l $seconds -p 3 -v 1 "$@" >"$home/$name.log" 2>&1 &
  local tester=$!
  sleep 2
  local open
  open=$(curl -sf "$server/metrics" | awk '$1 == "efm_http_connections" { print $2 }')
  read -r p99 count < <(measure 6)
  wait $tester || true
  echo "$name: p99 $p99 ms over $count requests, $open connections open as it began"
  # five times as much, and a tenth of a second for a machine that has other things to do
  awk -v p="$p99" -v q="$peace" 'BEGIN { exit !(p <= 5 * q + 100) }' || fail "$name: p99 $p99 ms, in peace $peace ms"
  for _ in $(seq 100); do
    open=$(curl -sf "$server/metrics" | awk '$1 == "efm_http_connections" { print $2 }')
    [[ $open -le 2 ]] && return
    sleep 0.1
  done
  fail "$name: $open connections are left"
}
attack headers -H -i 1 -u "$server/livez"
attack body -B -i 1 -s 8192 -u "$server/transfer" -f application/json
attack read -X -w 1 -y 2 -n 1 -z 1 -k 3 -u "$server/openapi.json"
echo "$self: $clients slow clients hinder nobody"
