#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# deploy/demo/train.sh, from curl alone, against a daemon of its own: demo.sh EFMD
set -euo pipefail
efmd=$(realpath "$1")
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
"$efmd" --listen 127.0.0.1:0 --port-file "$folder/port" --state-dir "$folder/state" --log-level warning &
daemon=$!
trap 'kill "$daemon" 2>/dev/null; wait "$daemon" || true; rm -rf "$folder"' EXIT
for _ in $(seq 200); do
  [[ ! -s $folder/port ]] || break
  sleep 0.1
done
deploy/demo/train.sh "http://127.0.0.1:$(cat "$folder/port")" "$folder/pictures" | tail -30
for picture in preview-0 preview-end loss threes twos; do
  [[ $(head -c 4 "$folder/pictures/$picture.png" | tail -c 3) == PNG ]] || { echo "$picture.png is no picture" >&2; exit 1; }
done
! cmp -s "$folder/pictures/preview-0.png" "$folder/pictures/preview-end.png" || { echo "the preview did not change" >&2; exit 1; }
