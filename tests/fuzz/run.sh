#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the libFuzzer targets, with address and undefined-behaviour sanitizers.
#
#   tests/fuzz/run.sh [SECONDS] [NAME...]      600 seconds each, of all targets; NAME: as in fuzz_NAME.c
#
# image runs once for each format, beginning with the files of that one. Builds with clang in build-fuzz/; what is found
# new lies in build-fuzz/found/NAME, what fails in build-fuzz/failed/NAME. A line for each; the exit status is not 0
# when one failed. FUZZ_JOBS at once [one for each core].
set -euo pipefail
cd "$(dirname "$0")/../.."
case "${1:-}" in -h | --help) sed -n '3,9s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
seconds=${1:-600}
shift || true
names=("$@")
if [[ ${#names[@]} -eq 0 ]]; then
  for source in tests/fuzz/fuzz_*.c; do
    name=${source##*/fuzz_}
    name=${name%.c}
    [[ $name == image ]] && names+=(image-png image-jpeg image-webp) || names+=("$name")
  done
fi
[[ -f build-fuzz/build.ninja ]] ||
  CC=clang meson setup build-fuzz -Dtests=enabled -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >build-fuzz.log 2>&1 ||
  { cat build-fuzz.log; exit 1; }
rm -f build-fuzz.log
mapfile -t targets < <(printf 'tests/fuzz/fuzz_%s\n' "${names[@]%%-*}" | sort -u)
ninja -C build-fuzz --quiet "${targets[@]}"

# one NAME : its line
one() {
  local name=$1 target=${1%%-*} corpus status=0
  local found=build-fuzz/found/$name failed=build-fuzz/failed/$name log=build-fuzz/log.$1
  local -a more=()
  corpus=tests/fuzz/corpus/$target
  mkdir -p "$found" "$failed"
  if [[ $name == *-* ]]; then # the files of one format; the first byte is the target's
    corpus=build-fuzz/corpus/$name
    rm -rf "$corpus"
    mkdir -p "$corpus"
    local file mark
    for file in tests/fuzz/corpus/"$target"/*; do
      mark=$(tail -c +2 "$file" | head -c 4 | od -An -tx1 | tr -d ' ')
      case "$mark-$name" in 89504e47-*-png | ffd8*-*-jpeg | 52494646-*-webp) cp "$file" "$corpus" ;; esac
    done
  fi
  [[ ! -f tests/fuzz/dict/$target.dict ]] || more=("-dict=tests/fuzz/dict/$target.dict")
  timeout -s KILL $((seconds + 120)) "build-fuzz/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -rss_limit_mb=3000 \
    -artifact_prefix="$failed/" "${more[@]}" "$found" "$corpus" >"$log" 2>&1 || status=$?
  if [[ $status -eq 0 ]]; then
    echo "ok: $name: $(grep -o 'Done .*' "$log")"
  else
    echo "FAILED: $name, status $status: $(grep -m 1 -E 'ERROR|SUMMARY|runtime error' "$log") ($log)"
    return 1
  fi
}
export -f one
export seconds
printf '%s\n' "${names[@]}" | xargs -P "${FUZZ_JOBS:-$(nproc)}" -I NAME bash -c 'set -euo pipefail; one NAME'
