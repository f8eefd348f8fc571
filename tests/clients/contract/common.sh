# SPDX-License-Identifier: Apache-2.0
# What the scripts of this suite share; sourced after `set -euo pipefail`.
#
# CLIENTS_DIR   where tools are installed and kept [build-clients/ of the source tree]

contract=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$contract/../../.." && pwd)
self=$(basename "$0")
efmd=$(realpath "${1:-${EFMD:?"$self EFMD: the program"}}")
CLIENTS_DIR=${CLIENTS_DIR:-$root/build-clients}
mkdir -p "$CLIENTS_DIR"
CLIENTS_DIR=$(cd "$CLIENTS_DIR" && pwd)
export CLIENTS_DIR
home=$(mktemp -d "${TMPDIR:-/tmp}/efmd-$self-XXXXXX")
daemon=
server=
beside=() # processes that end with the script

fail() {
  echo "$self: $*" >&2
  exit 1
}

# Says by name what is missing; the status of a skipped test.
skip() {
  echo "$self: skipped: $*" >&2
  exit 77
}

clean_up() {
  local status=$?
  for process in "${beside[@]}"; do
    kill "$process" 2>/dev/null || true
  done
  if [[ -n $daemon ]]; then
    kill -TERM "$daemon" 2>/dev/null || true
    wait "$daemon" || { echo "$self: efmd ended with status $?" >&2; status=1; }
  fi
  if [[ $status -ne 0 && $status -ne 77 && -s $home/log ]]; then
    echo "---- the end of the log of efmd" >&2
    tail -n 20 "$home/log" >&2
  fi
  rm -rf "$home"
  exit "$status"
}
trap clean_up EXIT

# start_daemon OPTION... : on a free port of loopback; $server is its address.
start_daemon() {
  "$efmd" --listen 127.0.0.1:0 --state-dir "$home/state" --port-file "$home/port" "$@" >"$home/log" 2>&1 &
  daemon=$!
  for _ in $(seq 200); do
    [[ -s $home/port ]] && break
    kill -0 "$daemon" 2>/dev/null || { daemon=; fail "efmd did not start: $(tail -n 3 "$home/log")"; }
    sleep 0.05
  done
  server=http://127.0.0.1:$(cat "$home/port")
  curl -sf --retry 20 --retry-delay 1 --retry-all-errors -o /dev/null "$server/readyz" || fail "efmd is not ready"
}

# What the answers are shown on: two datasets of vectors, two of small pictures, a model of each pair.
make_world() {
  local body
  put() { curl -sf -X PUT --json "$2" "$server/v1/$1" >/dev/null || fail "PUT $1 failed"; }
  put datasets/noise '{"toy":"gaussian","dimension":2,"count":200}'
  put datasets/roll '{"toy":"swiss_roll","count":200}'
  put datasets/threes '{"toy":"gaussian","shape":[8,8,3],"count":40,"seed":1}'
  put datasets/twos '{"toy":"uniform","shape":[8,8,3],"count":40,"seed":2}'
  put models/roll '{"arch":"exact","source":"noise","target":"roll","L":6}'
  put models/exact '{"arch":"exact","source":"threes","target":"twos","map":"chain","L":10}'
  put models/copy '{"arch":"exact","source":"noise","target":"roll","L":6}'
}

# Downloads that fail are tried once more and then given up: a test that is skipped shall not take minutes.

# install_npm SOURCE : the packages of tests/clients/SOURCE/package.json, by the versions of its lock file, once;
# $node_modules is where.
install_npm() {
  local source=$root/tests/clients/$1 folder=$CLIENTS_DIR/$1 version
  command -v node >/dev/null || skip "node is not installed"
  command -v npm >/dev/null || skip "npm is not installed"
  version=$(cat "$source/package.json" "$source/package-lock.json" | sha256sum)
  if [[ ! -f $folder/installed || $(cat "$folder/installed") != "$version" ]]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$source/package.json" "$source/package-lock.json" "$folder/"
    (cd "$folder" && timeout 150 npm ci --ignore-scripts --fetch-retries=1 --no-audit --no-fund \
      --cache "$CLIENTS_DIR/npm-cache" >npm.log 2>&1) ||
      { tail -n 5 "$folder/npm.log" >&2; skip "npm cannot install the packages of $1/package.json"; }
    echo "$version" >"$folder/installed"
  fi
  node_modules=$folder/node_modules
  export NODE_PATH=$node_modules NO_UPDATE_NOTIFIER=1 REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true
}

# install_python SOURCE : a venv with the packages of tests/clients/SOURCE/requirements.txt, once; $venv is where.
install_python() {
  local requirements=$root/tests/clients/$1/requirements.txt
  venv=$CLIENTS_DIR/venv-$1
  cmp -s "$requirements" "$venv/installed" && return
  command -v python3 >/dev/null || skip "python3 is not installed"
  rm -rf "$venv"
  python3 -m venv "$venv" >"$home/install" 2>&1 || skip "python3 makes no venv (Debian's python3-venv)"
  timeout 150 "$venv/bin/pip" install --quiet --disable-pip-version-check --retries 1 --only-binary :all: \
    --cache-dir "$CLIENTS_DIR/pip-cache" -r "$requirements" >"$home/install" 2>&1 ||
    { tail -n 3 "$home/install" >&2; skip "pip cannot install the packages of $1/requirements.txt"; }
  cp "$requirements" "$venv/installed"
}
