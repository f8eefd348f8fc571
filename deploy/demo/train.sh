#!/usr/bin/env bash
# Trains a model that turns threes into twos, from curl alone, in under a minute on two cores:
# uploads both sets, trains, follows the events, looks at previews, transfers unseen digits, deletes all.
#
#   deploy/demo/train.sh [URL [FOLDER]]
#
# URL is where efmd listens (http://127.0.0.1:8080); FOLDER gets the pictures (./train-demo). Needs curl and jq.
# DEMO_STEPS changes the length of the training (400).
set -euo pipefail

url=${1:-http://127.0.0.1:8080}
folder=${2:-train-demo}
steps=${DEMO_STEPS:-400}
here=$(cd "$(dirname "$0")" && pwd)
name=demo-$$ # of the datasets and the model: nothing that is there already is touched
mkdir -p "$folder"

ask() { curl -sS --fail-with-body "$@"; }
events=
finish() {
  [[ -z $events ]] || kill "$events" 2>/dev/null || true
  for path in "models/$name" "datasets/$name-threes" "datasets/$name-twos"; do
    curl -sS -o /dev/null -X DELETE "$url/v1/$path" || true
  done
}
trap finish EXIT

echo "== two sets of digits"
ask -T "$here/threes.tar" "$url/v1/datasets/$name-threes" | jq -c '{id, count, shape, format}'
ask -T "$here/twos.tar" "$url/v1/datasets/$name-twos" | jq -c '{id, count, shape, format}'
ask "$url/v1/datasets/$name-threes/preview.png" -o "$folder/threes.png"

echo "== a training"
job=$(ask --json @- "$url/train" <<JSON | jq -r .id
{"model": "$name", "source": "$name-threes", "target": "$name-twos", "image": {"height": 32, "width": 32},
 "network": {"nf": 32, "ch_mult": [1, 1, 2], "blocks": 1, "attention": []},
 "batch": 32, "charges": 256, "steps": $steps, "warmup": 30, "ema": 0.98, "metadata": {"from": "the demo"}}
JSON
)
echo "$job"

# The events, one line each, while the rest goes on.
curl -sN "$url/v1/jobs/$job/events" | sed -un 's/^data: //p' |
  jq --unbuffered -rc 'select(.type != "preview") | "   \(.type) \(.data)"' &
events=$!

# A preview whenever the training has come a quarter further.
state=queued
taken=0
while [[ $state == queued || $state == running ]]; do
  read -r state step < <(ask "$url/v1/jobs/$job?wait=1" | jq -r '"\(.status) \(.step)"')
  if [[ $state == running && $step -ge $((taken * steps / 4 + 1)) ]]; then
    if ask "$url/v1/jobs/$job/preview.png" -o "$folder/preview-$taken.png"; then
      echo "   a picture of step $step: $folder/preview-$taken.png"
      taken=$((taken + 1))
    fi
  fi
done
wait "$events" || true
events=
if [[ $state != succeeded ]]; then
  ask "$url/v1/jobs/$job" | jq .error
  exit 1
fi
ask "$url/v1/jobs/$job/preview.png" -o "$folder/preview-end.png"
ask "$url/v1/jobs/$job/loss.png" -o "$folder/loss.png"

echo "== what it made"
ask "$url/v1/models/$name" | jq -c '{id, state, arch, trained_by, bytes}'
images=()
for image in "$here"/unseen/*.png; do images+=(-F "image=@$image"); done
ask "${images[@]}" "$url/transfer?model=$name&seed=7" -o "$folder/twos.png"
echo "   unseen threes carried over: $folder/twos.png"

echo "== all is deleted again"
ask -X DELETE "$url/v1/jobs/$job"
finish
trap - EXIT
for path in "jobs/$job" "models/$name" "datasets/$name-threes" "datasets/$name-twos"; do
  echo "   /v1/$path: $(curl -s -o /dev/null -w '%{http_code}' "$url/v1/$path")"
done
