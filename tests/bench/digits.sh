#!/usr/bin/env bash
# The main job on real digits: exact models of 1,000 threes and 1,000 twos in colour, 200 unseen threes posted as PNG with
# curl, judged. One line a setting: what was asked, seconds of the 200 requests, what the judge says.
#
# usage: digits.sh EFMD IDX_IMAGES IDX_LABELS JUDGE [--quick]
#   EFMD    the daemon             IDX_*  the 60,000 MNIST training digits, plain or gzipped
#   JUDGE   a program called as JUDGE --source DIR --result DIR --real DIR --target DIGIT
set -euo pipefail
efmd=$1 images=$2 labels=$3 judge=$4 quick=${5:-}
here=$(cd "$(dirname "$0")/../.." && pwd)
python=/usr/bin/python3
[ -x $python ] || python=python3
work=$(mktemp -d)
make() { $python "$here/deploy/demo/make_digits.py" "$images" "$labels" "$@"; }
make 3 0 1000 1 "$work/threes.tar"
make 2 0 1000 1 "$work/twos.tar"
make 3 2000 200 1 "$work/x3"
make 2 3000 200 1 "$work/x2"
make 2 2000 1000 1 "$work/real2"
make 3 3000 1000 1 "$work/real3"

"$efmd" --listen 127.0.0.1:0 --port-file "$work/port" --log-level error &
daemon=$!
trap 'kill $daemon 2>/dev/null; wait $daemon 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
host=http://127.0.0.1:$(cat "$work/port")
for name in threes twos; do
    curl -sf -T "$work/$name.tar" "$host/v1/datasets/$name" >/dev/null
done

# carry LABEL QUERY SOURCES REAL DIGIT: posts every file of SOURCES by one curl of 4 connections and judges
carry() {
    local out="$work/out" list="$work/list" begin end
    rm -rf "$out" && mkdir "$out" && : >"$list"
    for file in "$work/$3"/*.png; do
        printf 'next\nurl = "%s/transfer?model=m&seed=7&%s"\ndata-binary = "@%s"\noutput = "%s"\nfail\nsilent\n' \
            "$host" "$2" "$file" "$out/$(basename "$file")" >>"$list"
    done
    begin=$(date +%s.%N)
    curl --parallel --parallel-max 32 --config <(tail -n +2 "$list") 2>/dev/null
    end=$(date +%s.%N)
    printf '| %-34s | %6.2f s | %s\n' "$1" "$(echo "$end - $begin" | bc)" \
        "$($python "$judge" --source "$work/$3" --result "$out" --real "$work/$4" --target "$5")"
}

model() { curl -sf -X PUT --json "$1" "$host/v1/models/m" >/dev/null; }

lengths='2 5 10 20 50'
[ -z "$quick" ] || lengths=10
for L in $lengths; do
    model "{\"arch\":\"exact\",\"source\":\"threes\",\"target\":\"twos\",\"L\":$L,\"map\":\"chain\"}"
    carry "chain L=$L" "" x3 real2 2
    carry "chain L=$L reverse" "direction=reverse" x2 real3 3
done
for L in $lengths; do
    model "{\"arch\":\"exact\",\"source\":\"threes\",\"target\":\"twos\",\"L\":$L,\"map\":\"forward\",\"field\":\"superposition\"}"
    carry "superposition L=$L" "solver=arc_length" x3 real2 2
done
for L in $lengths; do
    model "{\"arch\":\"exact\",\"source\":\"threes\",\"target\":\"twos\",\"L\":$L,\"map\":\"forward\",\"field\":\"per_plate\"}"
    carry "per_plate L=$L euler 10" "solver=euler&steps=10" x3 real2 2
    carry "per_plate L=$L euler 50" "solver=euler&steps=50" x3 real2 2
done
carry "per_plate L=${lengths##* } reverse" "direction=reverse" x2 real3 3
curl -sf "$host/metrics" | grep -E '^efm_lines_total|^efm_function_evaluations_total|^process_resident'
