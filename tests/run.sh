#!/usr/bin/env bash
# Builds efmd in every way that finds mistakes and runs every test.
#
#   tests/run.sh            gcc, clang, address + undefined-behaviour sanitizers, thread sanitizer; checks and kills
#                           by the gcc build alone
#   tests/run.sh --quick    gcc alone: the unit and HTTP suites
#
# Installs what is missing (deploy/install-deps.sh --test). Builds lie in build-gcc/, build-clang/, build-asan/
# and build-tsan/ and are used again by the next run. The end shows the counts by configuration, the last lines of
# every test that failed, and the names of those; the last line is "N passed, N failed" over all of it. The exit
# status is not 0 when something failed.
set -uo pipefail
cd "$(dirname "$0")/.."

quick=no
case "${1:-}" in
  "") ;;
  --quick) quick=yes ;;
  -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "run.sh: unknown argument $1 (see --help)" >&2; exit 2 ;;
esac

started=$SECONDS
deploy/install-deps.sh --test || exit 1
python=/usr/bin/python3
[[ -x $python ]] || python=python3

export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export LSAN_OPTIONS=print_suppressions=0
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$PWD/tests/support/tsan.supp

passed=0
failed=0
summary=()
kept=$(mktemp -d) # what the end of the output says of tests that failed
trap 'rm -rf "$kept"' EXIT
touch "$kept/outputs" "$kept/names"

# Counts the results of one log of meson: prints "PASSED FAILED SKIPPED" and, on standard error, what failed.
count_results() {
  "$python" - "$1" <<'PYTHON'
import json, sys
passed = failed = skipped = 0
try:
    lines = open(sys.argv[1], encoding="utf-8").read().splitlines()
except OSError:
    lines = []
for line in lines:
    test = json.loads(line)
    if test["result"] in ("OK", "EXPECTEDFAIL"):
        passed += 1
    elif test["result"] == "SKIP":
        skipped += 1
        print(f"  skipped: {test['name']}", file=sys.stderr)
    else:
        failed += 1
        print(f"  failed: {test['name']} ({test['result']})", file=sys.stderr)
print(passed, failed, skipped)
PYTHON
}

# keep_failures NAME LOG: of each test that failed in one log of meson, the lines that tell why and the last ones; and
# all the names in a line. For the end of the output.
keep_failures() {
  "$python" - "$1" "$2" "$kept" <<'PYTHON'
import json, re, sys
configuration, log, kept = sys.argv[1:]
LAST, TELLING = 40, 20
names = []
try:
    tests = [json.loads(line) for line in open(log, encoding="utf-8")]
except OSError:
    sys.exit()
with open(kept + "/outputs", "a", encoding="utf-8", errors="replace") as file:
    for test in tests:
        if test["result"] in ("OK", "EXPECTEDFAIL", "SKIP"):
            continue
        names.append(f"{test['name']} ({test['result']})")
        lines = "".join(test.get(stream) or "" for stream in ("stdout", "stderr")).splitlines()
        telling = [line for line in lines[:-LAST] if re.search(r"FAILED|ERROR|: error:|Error:|WARNING: \w+Sanitizer", line)]
        print(f"\n-- {configuration}: {names[-1]}, {test['duration']:.0f} s, {len(lines)} lines of output", file=file)
        for line in telling[:TELLING] + ["..."] * (len(lines) > LAST) + lines[-LAST:]:
            print("  " + line[:400], file=file)
if names:
    with open(kept + "/names", "a", encoding="utf-8") as file:
        print(f"failed in {configuration}: " + ", ".join(names), file=file)
PYTHON
}

# build NAME COMPILER OPTION... : configures build-NAME when that has not been done, and builds it.
build() {
  local name=$1 compiler=$2 directory=build-$1
  shift 2
  local begun=$SECONDS
  printf '\n== %s: build\n' "$name"
  if [[ ! -f $directory/build.ninja ]]; then
    rm -rf "$directory"
    CC=$compiler meson setup "$directory" -Dtests=enabled "$@" >"$directory.log" 2>&1 ||
      { cat "$directory.log"; rm -f "$directory.log"; return 1; }
    rm -f "$directory.log"
  fi
  ninja -C "$directory" --quiet || return 1
  echo "built in $((SECONDS - begun)) s"
}

# run_tests NAME OPTION... : `meson test` in build-NAME; prints what the programs print.
run_tests() {
  local name=$1 begun=$SECONDS counts run_passed run_failed run_skipped status=0
  shift
  printf '\n== %s: tests\n' "$name"
  rm -f "build-$name/meson-logs/testlog.json"
  "${launcher[@]}" meson test -C "build-$name" --no-rebuild --verbose --print-errorlogs "$@" 2>&1 || status=$?
  printf '\n'
  counts=$(count_results "build-$name/meson-logs/testlog.json") || counts="0 1 0"
  read -r run_passed run_failed run_skipped <<<"$counts"
  if [[ $run_passed -eq 0 && $run_failed -eq 0 ]]; then
    run_failed=1
    echo "failed in $name: no test ran at all" >>"$kept/names"
  elif [[ $status -ne 0 && $run_failed -eq 0 ]]; then
    run_failed=1
    echo "failed in $name: meson test itself, with status $status" >>"$kept/names"
  fi
  keep_failures "$name" "build-$name/meson-logs/testlog.json"
  passed=$((passed + run_passed))
  failed=$((failed + run_failed))
  summary+=("$(printf '%-8s %4d passed %3d failed %3d skipped %5d s' \
    "$name" "$run_passed" "$run_failed" "$run_skipped" $((SECONDS - begun)))")
}

# configuration NAME COMPILER "TEST OPTIONS" BUILD OPTION...
configuration() {
  local name=$1 compiler=$2 test_options=$3
  shift 3
  if build "$name" "$compiler" "$@"; then
    # shellcheck disable=SC2086 # a list of words
    run_tests "$name" $test_options
  else
    failed=$((failed + 1))
    summary+=("$(printf '%-8s the build failed' "$name")")
    echo "failed in $name: the build" >>"$kept/names"
  fi
}

launcher=()
if [[ $quick == yes ]]; then
  configuration gcc gcc "--suite unit --suite http" --buildtype=release
else
  # A time limit is there for what hangs: tests of 5 to 9 s of computing pass 30 s where a machine is shared.
  configuration gcc gcc "-t 3" --buildtype=release
  # What another compiler makes of it: of the service nothing that the builds of the sanitizers do not see, one of which is clang's.
  configuration clang clang "-t 3 --suite unit --suite reference --suite fuzz" --buildtype=debugoptimized
  # While it makes kernels for AMX oneDNN 2.7 reads one element past the end of a vector of its own: the C library always has memory
  # there, the allocators of the sanitizers have not. The builds before this run those kernels.
  export ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16
  configuration asan gcc "-t 4 --no-suite checks --no-suite chaos --no-suite clients" \
    --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false
  # The thread sanitizer wants its memory at fixed places.
  ! command -v setarch >/dev/null || launcher=(setarch -R)
  configuration tsan clang "-t 6 --no-suite checks --no-suite chaos --no-suite clients" \
    --buildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false
fi

printf '\n== summary (%d s)\n' $((SECONDS - started))
printf '%s\n' "${summary[@]}"
cat "$kept/outputs"
[[ ! -s $kept/names ]] || printf '\n'
cat "$kept/names"
printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
