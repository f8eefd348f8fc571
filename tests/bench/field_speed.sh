#!/usr/bin/env bash
# The exact per-plate field in D = 3072 against the same expression in PyTorch, and against what the machine can do.
#
#   field_speed.sh FIELD_SPEED [ROUNDS]      FIELD_SPEED is tests/bench/field_speed of a build with -Dbench=true
#
# Needs python3-torch (Debian) for $PYTHON [/usr/bin/python3]. Rounds [5] of all programs take turns, so that each
# sees the same machine; the medians of the rounds are printed. THREADS [2].
#
#   points x charges a plate, data   "sharp" and "spread", see field_speed.c
#   field, torch, ratio              milliseconds an evaluation of both plates; torch by differences
#   by products                      torch with matrix products in place of differences, which is not exact
#   nominal                          share of the speed of cblas_sgemm at 2048^3 with as many threads, taking
#                                    4 b B D operations a plate as the work: two products of points and charges
#   executed                         the same with what is really done: sharp data do not need the second product
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=${1:?the program field_speed}
rounds=${2:-5}
python=${PYTHON:-/usr/bin/python3}
threads=${THREADS:-2}
dimension=3072
export OMP_NUM_THREADS=$threads

folder=$(mktemp -d "${TMPDIR:-/tmp}/field-speed-XXXXXX")
trap 'rm -rf "$folder"' EXIT
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for ((i = 0; i < rounds; i++)); do
  for t in 1 "$threads"; do
    "$program" gemm 2048 2048 2048 "$t" 0.5 >>"$folder/peak.$t"
    "$program" gemm 64 1024 "$dimension" "$t" 0.3 >>"$folder/first.$t"
    "$program" gemm 64 "$dimension" 1024 "$t" 0.3 >>"$folder/second.$t"
  done
done
for t in $(printf '%s\n' 1 "$threads" | sort -u); do
  printf 'cblas_sgemm, %d threads: %s GFLOP/s at 2048 x 2048 x 2048, %s at 64 x 1024 x %d, %s at 64 x %d x 1024\n' \
    "$t" "$(median <"$folder/peak.$t")" "$(median <"$folder/first.$t")" "$dimension" \
    "$(median <"$folder/second.$t")" "$dimension"
done

# compare POINTS CHARGES DATA PRODUCTS SECONDS-OF-TORCH ROUNDS
compare() {
  local points=$1 charges=$2 data=$3 products=$4 patience=$5 count=$6 work=$folder/$1-$2-$3 i
  mkdir -p "$work"
  "$program" data "$work" "$data" "$points" "$charges" "$dimension"
  for ((i = 0; i < count; i++)); do
    "$program" gemm 2048 2048 2048 "$threads" 0.5 >>"$work/peak"
    "$program" field "$work" "$threads" 1 >>"$work/field"
    "$python" "$here/field_speed.py" "$work" "$threads" 0.5 products >>"$work/products"
    "$python" "$here/field_speed.py" "$work" "$threads" "$patience" >>"$work/torch"
  done
  difference=$("$program" compare "$work") || { echo "the two programs disagree: $difference" >&2; exit 1; }
  awk -v b="$points" -v n="$charges" -v d="$dimension" -v data="$data" -v products="$products" -v difference="$difference" \
    -v field="$(median <"$work/field")" -v torch="$(median <"$work/torch")" -v by="$(median <"$work/products")" \
    -v peak="$(median <"$work/peak")" 'BEGIN {
      nominal = 2 * 4 * b * n * d / (field * 1e6) / peak
      printf "%2d x %5d %-6s  field %8.2f ms  torch %9.1f ms  ratio %6.1f  by products %7.1f ms  ", b, n, data, field, torch, torch / field, by
      printf "nominal %3.0f %%  executed %3.0f %%  of %.0f GFLOP/s  difference %s\n", 100 * nominal, 50 * nominal * products, peak, difference
    }'
  rm -rf "$work"
}
compare 64 1024 sharp 1 0 "$rounds"
compare 64 1024 spread 2 0 "$rounds"
compare 1 1024 spread 2 0.5 "$rounds"
compare 64 16384 spread 2 0 1
