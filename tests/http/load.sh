#!/usr/bin/env bash
# The real daemon under load, and what it keeps afterwards: nothing.
#
#   load.sh EFMD       skipped (77) without wrk
#
# Rounds of the same load: wrk on 32 connections, then 1,000 transfers, 64 at a time, of which every fourth
# hangs up after 50 ms in the middle of its work. After six rounds that fill caches and pools, two more must
# leave no descriptor, no memory, no request and no line behind, and the daemon ends with 0.
#
# LOAD_SECONDS     of wrk in each round [2; 1 where TEST_PATIENCE says that the build is slow]
# LOAD_TRANSFERS   by curl in each round [1000; 200]
# LOAD_GROWTH      of resident memory that is let pass, in percent [5; 25]
set -euo pipefail

efmd=${1:-${EFMD:?the program}}
patience=${TEST_PATIENCE:-1}
parallel=64
if [[ $patience == 1 ]]; then
  seconds=${LOAD_SECONDS:-2} transfers=${LOAD_TRANSFERS:-1000} growth=${LOAD_GROWTH:-5}
else
  # A sanitizer's allocator keeps what is freed for a while.
  seconds=${LOAD_SECONDS:-1} transfers=${LOAD_TRANSFERS:-200} growth=${LOAD_GROWTH:-25}
fi
for tool in wrk curl; do
  command -v "$tool" >/dev/null || { echo "load.sh: $tool is not installed"; exit 77; }
done

home=$(mktemp -d "${TMPDIR:-/tmp}/efmd-load-XXXXXX")
daemon=
clean_up() {
  [[ -z $daemon ]] || kill -KILL "$daemon" 2>/dev/null || true
  rm -rf "$home"
}
trap clean_up EXIT
fail() {
  echo "load.sh: $*" >&2
  tail -n 20 "$home/log" >&2 || true
  exit 1
}

"$efmd" --listen 127.0.0.1:0 --port-file "$home/port" --state-dir "$home/state" --log-level warning \
  >"$home/log" 2>&1 &
daemon=$!
for _ in $(seq 1 $((200 * patience))); do
  [[ -s $home/port ]] && curl -sf -o /dev/null "http://127.0.0.1:$(cat "$home/port")/readyz" && break
  kill -0 "$daemon" 2>/dev/null || fail "the daemon ended before it was ready"
  sleep 0.1
done
url=http://127.0.0.1:$(cat "$home/port")

put() { # KIND/NAME JSON
  curl -sS --fail-with-body -o "$home/answer" -X PUT --json "$2" "$url/v1/$1" || fail "PUT $1: $(cat "$home/answer")"
}
put datasets/normal '{"toy":"gaussian","count":100,"shape":[8,8,3],"seed":1}'
put datasets/even '{"toy":"uniform","count":100,"shape":[8,8,3],"seed":2}'
put datasets/large '{"toy":"gaussian","count":300,"shape":[32,32,3],"seed":3}'
put models/noise '{"arch":"exact","field":"chain","map":"chain","source":"normal","target":"even"}'
put models/slow '{"arch":"exact","field":"chain","map":"chain","source":"large","target":"large"}'

# What is asked: a picture in, a picture out, made by the daemon itself first.
work="$url/v1/transfer?model=noise&seed=7"
curl -sS --fail-with-body -o "$home/picture" "$url/v1/generate?model=noise&seed=3" -X POST ||
  fail "the first picture: $(cat "$home/picture")"
cat >"$home/post.lua" <<LUA
local file = assert(io.open("$home/picture", "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "image/png"
file:close()
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("wrk %d %d %d\n", summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
LUA
# One curl, many transfers; half on connections of their own. Those that hang up ask for seconds of work.
hanging=0
for ((i = 0; i < transfers; i++)); do
  [[ $i -eq 0 ]] || echo next
  limit=60 kind=stays
  target="$work&format=json"
  if ((i % 4 == 3)); then
    limit=0.05 kind=hangs
    target="$url/v1/transfer?model=slow&n=4&solver=euler&steps=1000&seed=$i"
    hanging=$((hanging + 1))
  fi
  printf 'url = "%s"\ndata-binary = "@%s"\nheader = "Content-Type: image/png"\n' "$target" "$home/picture"
  printf 'max-time = %s\noutput = "/dev/null"\nwrite-out = "%%{http_code} %s\\n"\n' "$limit" "$kind"
  ((i % 2 == 0)) || echo 'header = "Connection: close"'
done >"$home/transfers"

metric() {
  curl -sS --fail-with-body "$url/metrics" |
    awk -v name="$1" '{ split($1, part, "{") } part[1] == name { sum += $2 } END { printf "%.0f\n", sum }'
}
# Waits until the metric is at most so much.
settles() { # NAME VALUE
  for _ in $(seq 1 $((100 * patience))); do
    [[ $(metric "$1") -gt $2 ]] || return 0
    sleep 0.1
  done
  fail "$1 is $(metric "$1") and not $2"
}
settled() {
  settles efm_lines_in_flight 0
  settles efm_queue_requests 0
  settles efm_http_requests_in_flight 1 # the one that asks
}
round() {
  wrk -t 2 -c 32 -d "${seconds}s" --timeout 30s -s "$home/post.lua" "$work" >"$home/wrk" ||
    fail "wrk: $(cat "$home/wrk")"
  read -r _ asked refused broken < <(grep '^wrk ' "$home/wrk")
  [[ $asked -gt 0 && $refused -eq 0 && $broken -eq 0 ]] ||
    fail "wrk sent $asked requests: $refused were refused, $broken connections failed"
  curl -sS --parallel --parallel-max "$parallel" --parallel-immediate -K "$home/transfers" \
    >"$home/codes" 2>"$home/messages" || true
  answered=$(grep -c '^200 stays$' "$home/codes") || true
  [[ $answered -eq $((transfers - hanging)) ]] ||
    fail "$answered of $((transfers - hanging)) transfers were answered: $(sort "$home/codes" | uniq -c | tr '\n' ';')"
  hung_up=$(grep -c '^000 hangs$' "$home/codes") || true
  [[ $hung_up -eq $hanging ]] || fail "$hung_up of $hanging hung up: $(sort "$home/codes" | uniq -c | tr '\n' ';')"
  settled
  resident=$(metric process_resident_memory_bytes)
  printf 'round: wrk %s requests (%s a second), curl %d answered and %d hung up, memory %d kB, %d descriptors\n' \
    "$asked" $((asked / seconds)) "$answered" "$hung_up" $((resident / 1024)) \
    "$(metric process_open_fds)"
}

# The allocator gives pages back when it likes, so the most of the first rounds is held against the least of the
# others: what leaks is in both of them.
quiet=$(metric process_open_fds)
memory=0
for _ in 1 2 3 4 5 6; do
  round
  memory=$((resident > memory ? resident : memory))
done
round
after=$resident
round
after=$((resident < after ? resident : after))
settles process_open_fds "$quiet"
[[ $after -le $((memory + memory * growth / 100)) ]] ||
  fail "resident memory went from $memory to $after bytes, more than $growth percent"
[[ $(metric efm_late_evaluations_total) == 0 ]] ||
  fail "$(metric efm_late_evaluations_total) evaluations for clients that had left"
cancelled=$(metric efm_cancelled_total)
[[ $cancelled -gt 0 ]] || fail "no transfer was cancelled, although clients hung up"

status=0
kill -TERM "$daemon"
wait "$daemon" || status=$?
daemon=
[[ $status -eq 0 ]] || fail "the daemon ended with $status"
echo "descriptors $quiet, memory $((memory / 1024)) kB then $((after / 1024)) kB, $cancelled cancelled, ended with 0"
