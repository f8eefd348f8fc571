#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The HTTP suite with prism between the tests and the daemon: every request and every answer is held against the contract.
#
#   prism.sh EFMD [TESTS]    TESTS: the folder of the test_http_* programs [tests/http of EFMD's build]
#                            skipped (77) where prism cannot be installed
#
# CLIENTS_PRISM_TESTS   which of them, by name [all but those below]
# CLIENTS_SECONDS       after which no further one is begun; what is left out is said by name [180]
set -euo pipefail
source "$(dirname "$0")/contract/common.sh"
install_npm contract
tests=${2:-$(dirname "$(dirname "$efmd")")/tests/http}

# Tests that no process may stand beside, each with its reason.
declare -A besides=(
  [bad_input]="methods that node does not know, and what the bytes of broken requests leave in memory"
)

echo "== prism proxy --errors"
start_daemon
make_world
curl -sf "$server/openapi.json" -o "$home/openapi.json"
"$node_modules/.bin/prism" proxy "$home/openapi.json" "$server" --errors --host 127.0.0.1 --port 0 >"$home/prism" 2>&1 &
beside+=($!)
for _ in $(seq 600); do
  proxy=$(grep -o 'listening on http://[0-9.:]*' "$home/prism" | head -n 1 | cut -d ' ' -f 3) && break
  sleep 0.1
done
[[ -n $proxy ]] || { cat "$home/prism"; fail "prism did not start"; }

# ask STATUS METHOD TARGET [JSON] : through prism, which answers in its own way what breaks the contract
asked=0
ask() {
  local status
  status=$(curl -s -o "$home/answer" -w '%{http_code}' -X "$2" ${4:+--json "$4"} "$proxy$3") || true
  [[ $status == "$1" ]] && ! grep -q prism/errors "$home/answer" ||
    { cat "$home/answer"; grep -i violation "$home/prism"; fail "$2 $3 ${4:-}: $status in place of $1"; }
  asked=$((asked + 1))
}
for path in / /livez /readyz /health /metrics /openapi.json /v1/openapi.json /v1/models /v1/datasets /v1/jobs \
  /v1/models/roll /v1/datasets/roll; do
  ask 200 GET "$path"
done
ask 200 POST /transfer '{"model":"roll","vectors":[[0.1,-0.7],[1.2,0.3]],"seed":7}'
ask 200 POST '/v1/transfer?model=roll&seed=1' '{"vector":[0.1,-0.7],"trajectory":4}'
ask 200 POST '/v1/generate?model=exact&n=2&format=json'
ask 200 POST /v1/models/roll/field '{"points":[[0,0,3]]}'
ask 200 POST /v1/models/roll/trace '{"starts":[[0.1,-0.7]],"points":4}'
ask 200 POST /v1/models/roll/unload
ask 200 POST /v1/models/roll/load
ask 201 PUT /v1/datasets/more '{"toy":"swiss_roll","count":50}'
ask 200 PUT /v1/models/copy '{"arch":"exact","source":"noise","target":"more","map":"chain","L":5}'
ask 404 GET /v1/models/none
ask 404 GET /v1/jobs/job_none
ask 404 POST /v1/transfer '{"model":"none","vector":[1]}'
ask 202 POST /v1/train '{"model":"made","source":"noise","target":"more","steps":20,"network":{"arch":"mlp","hidden":16,"hidden2":16,"embedding":8}}'
job=$(grep -o '"id":"job_[^"]*' "$home/answer" | cut -d '"' -f 4)
ask 200 GET "/v1/jobs/$job?wait=20"
ask 200 GET "/v1/jobs/$job"
ask 200 GET "/v1/jobs/$job/checkpoints"
ask 200 POST "/v1/jobs/$job/cancel"
ask 204 DELETE "/v1/jobs/$job"
ask 410 GET "/v1/jobs/$job"
ask 204 DELETE /v1/models/copy
ask 204 DELETE /v1/datasets/more
echo "ok: $asked requests"

echo "== the HTTP suite, held against the contract by prism's engine"
node "$contract/proxy.js" "$home/orders" "$home/exchanges" >"$home/proxy.log" 2>&1 &
proxy_js=$!
beside+=("$proxy_js")
for _ in $(seq 600); do
  [[ -s $home/orders ]] && break
  sleep 0.1
done
PRISM_PROXY=http://127.0.0.1:$(cat "$home/orders") || fail "the proxy did not start: $(tail -n 3 "$home/proxy.log")"
export EFMD=$efmd TEST_PROXY=$contract/proxy.sh PRISM_PROXY TEST_DATA=$root/tests/data
export TEST_PATIENCE=${TEST_PATIENCE:-4}
# through_prism NAME : one program; its verdict goes to $home/verdicts, what it says to $home/out.NAME
through_prism() {
  local begun status=0
  begun=$(date +%s)
  if ((begun >= give_up)); then
    status=late
  else
    timeout --kill-after=5 120 "$tests/test_http_$1" >"$home/out.$1" 2>&1 || status=$?
  fi
  echo "$1 $status $(($(date +%s) - begun))" >>"$home/verdicts"
}
give_up=$(($(date +%s) + ${CLIENTS_SECONDS:-180}))
export -f through_prism
export home tests give_up

# Two at a time, for much of a program's time goes by in waiting; what measures time runs alone.
together=()
for program in "$tests"/test_http_*; do
  name=${program##*/test_http_}
  [[ -x $program && ! -d $program ]] || continue
  [[ -z ${CLIENTS_PRISM_TESTS:-} || " $CLIENTS_PRISM_TESTS " == *" $name "* ]] || continue
  if [[ -n ${besides[$name]:-} ]]; then
    echo "not through prism: $name: ${besides[$name]}"
  elif [[ $name == disconnect ]]; then
    through_prism "$name"
  else
    together+=("$name")
  fi
done
printf '%s\n' "${together[@]}" | xargs -r -P 2 -I NAME bash -c 'through_prism NAME'
kill -TERM "$proxy_js"
wait "$proxy_js" || fail "the proxy ended badly: $(tail -n 3 "$home/proxy.log")"
failed=()
while read -r name status took; do
  case $status in
    0) echo "ok: $name ($took s)" ;;
    late) echo "left out, for the time is over: $name" ;;
    *)
      echo "failed: $name ($took s, status $status)"
      grep -E '^\[  (FAILED|ERROR)|LINE|^ERROR|broken' "$home/out.$name" | head -n 40 || tail -n 40 "$home/out.$name"
      failed+=("$name")
      ;;
  esac
done <"$home/verdicts"
node "$contract/summary.js" "$home/exchanges" || failed+=(contract)
[[ ${#failed[@]} -eq 0 ]] || fail "failed: ${failed[*]}"
echo "$self: nothing breaks the contract"
