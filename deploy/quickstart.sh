#!/usr/bin/env bash
# From a fresh clone to a first picture: installs what is missing, builds efmd, starts it on a free loopback
# port, loads the demo model, which was trained on real digits, and carries a three to a two of the same colour.
# A second run uses what is already there. Everything it makes lies in build/ and .quickstart/.
#
#   deploy/quickstart.sh         do all that
#   deploy/quickstart.sh stop    stop the daemon that an earlier run started
set -euo pipefail
cd "$(dirname "$0")/.."

home=.quickstart
pid_file=$home/efmd.pid
port_file=$home/port
log=$home/efmd.log
binary=build/server/efmd
model=threes-to-twos
picture=deploy/demo/unseen/3-05132.png
result=$home/$model.png

say() { printf '\n== %s\n' "$*"; }
fail() {
  printf 'quickstart: %s\n' "$*" >&2
  [[ ! -s $log ]] || { echo "The last lines of $log:" >&2; tail -n 5 "$log" >&2; }
  exit 1
}
# Shows a command as it could be typed, then runs it.
show() {
  local word line='$'
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
    line+=" $word"
  done
  printf '%s\n' "$line"
  "$@"
}

# Prints the process id of our daemon when it runs and still is the program that was built last.
running_daemon() {
  local pid
  pid=$(cat "$pid_file" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == "$PWD/$binary"* ]] || return 1
  echo "$pid"
}

stop_daemon() {
  local pid
  pid=$(running_daemon) || return 0
  kill -TERM "$pid"
  for _ in $(seq 1 350); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$pid_file" "$port_file"; return 0; }
    sleep 0.1
  done
  fail "the daemon (process $pid) does not stop; see $log"
}

case "${1:-}" in
  "") ;;
  stop) stop_daemon; exit 0 ;;
  -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "quickstart.sh: unknown argument $1 (see --help)" >&2; exit 2 ;;
esac

say "Packages"
deploy/install-deps.sh
echo "All there."

say "Build"
if [[ ! -f build/build.ninja ]]; then
  # A newer compiler may warn about what this one did not know: no reason to stop here.
  meson setup build --buildtype=release -Dwerror=false -Dtests=disabled >/dev/null ||
    { cat build/meson-logs/meson-log.txt >&2 2>/dev/null || true; fail "meson setup failed"; }
fi
echo "This takes about half a minute the first time."
ninja -C build --quiet server/efmd || fail "the build failed"
[[ -x $binary ]] || fail "there is no $binary"

say "Start"
mkdir -p "$home"
pid=$(running_daemon) || pid=
if [[ -n $pid && $(readlink "/proc/$pid/exe") != "$PWD/$binary" ]]; then
  echo "The running daemon is of an older build: starting it again."
  stop_daemon
  pid=
fi
if [[ -n $pid ]]; then
  echo "The daemon of an earlier run is still up (process $pid)."
else
  rm -f "$port_file"
  setsid "$PWD/$binary" --listen 127.0.0.1:0 --port-file "$port_file" --state-dir "$home/state" \
    >>"$log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$pid_file"
fi
ready=no
for _ in $(seq 1 300); do
  if [[ -s $port_file ]] && curl -sf -o /dev/null --max-time 2 "http://127.0.0.1:$(cat "$port_file")/readyz"; then
    ready=yes
    break
  fi
  kill -0 "$pid" 2>/dev/null || fail "the daemon ended before it was ready"
  sleep 0.1
done
[[ $ready == yes ]] || fail "the daemon was not ready within 30 seconds"
url=http://127.0.0.1:$(cat "$port_file")
echo "efmd listens on $url (process $pid, log in $log)."

put() {
  show curl -sS --fail-with-body --max-time 120 "$@" -o "$home/answer.json" && return
  cat "$home/answer.json" >&2
  fail "the daemon refused this request"
}

say "A model"
if curl -sf -o /dev/null --max-time 10 "$url/v1/models/$model"; then
  echo "The model $model is there already."
else
  put -T "deploy/demo/$model.safetensors" "$url/v1/models/$model"
fi

say "Transfer"
show curl -sS --fail-with-body --max-time 120 --data-binary "@$picture" -H 'Content-Type: image/png' \
  "$url/v1/transfer?model=$model&seed=7" -o "$result" || { cat "$result" >&2; fail "the transfer failed"; }
[[ $(head -c 4 "$result" | tail -c 3) == PNG ]] || fail "the answer is not a PNG picture"

say "Done"
echo "$picture went in, the two that it became is in $result."
echo "The daemon keeps running. To stop it: deploy/quickstart.sh stop    (or: kill $pid)"
