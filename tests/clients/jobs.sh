#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What follows and is told of jobs, with clients that nobody here wrote: the library of Standard Webhooks verifies what the daemon
# posts, an EventSource follows events through a proxy that cuts it off.
#
#   jobs.sh EFMD       skipped (77) where the packages cannot be installed
set -euo pipefail
source "$(dirname "$0")/contract/common.sh"
clients=$root/tests/clients/jobs
patience=${TEST_PATIENCE:-1}

# train NAME STEPS : posts a training; its id is $job
train() {
  job=$(curl -sf --json '{"source":"gaussian","target":"roll","model":"'"$1"'","steps":'"$2"',"batch":64,
    "network":{"arch":"mlp","hidden":64,"hidden2":64,"embedding":16},"webhook":"'"$hook/jobs?key=1"'"}' \
    "$server/v1/train" | node -pe 'JSON.parse(require("fs").readFileSync(0)).id') || fail "the training $1 was refused"
}

install_npm jobs
folder=$CLIENTS_DIR/jobs
cp "$clients"/*.mjs "$folder/" # they find the packages beside them
printf 'whsec_%s\n' "$(head -c 32 /dev/urandom | base64)" >"$home/secret"
# one that ends and one that is cancelled; the first that comes is refused, and comes again
node "$folder/webhooks.mjs" --secret-file "$home/secret" --port-file "$home/hook-port" --count 2 --refuse 1 \
  --seconds $((60 * patience)) >"$home/deliveries" &
receiver=$!
beside+=("$receiver")
for _ in $(seq 200); do
  [[ -s $home/hook-port ]] && break
  sleep 0.05
done
hook=http://127.0.0.1:$(cat "$home/hook-port")
start_daemon --webhook-allow "$hook/jobs" --allow-private 127.0.0.1 --webhook-secret-file "$home/secret" \
  --checkpoint-seconds 0.2
curl -sf -X PUT --json '{"toy":"swiss_roll","count":500}' "$server/v1/datasets/roll" >/dev/null || fail "no dataset"

echo "== eventsource: a training that runs, and again from its first event"
train followed 3000
followed=$job
node "$folder/eventsource.mjs" "$server" "$followed" $((60 * patience)) || fail "EventSource lost or doubled an event"
node "$folder/eventsource.mjs" "$server" "$followed" $((60 * patience)) || fail "EventSource lost or doubled an event"

echo "== standardwebhooks"
train cancelled 100000000
curl -sf -X POST "$server/v1/jobs/$job/cancel" -o /dev/null || fail "it cannot be cancelled"
wait "$receiver" || { cat "$home/deliveries"; fail "a webhook is not as it shall be"; }
cat "$home/deliveries"
for id in "$followed" "$job"; do
  status=
  for _ in $(seq $((50 * patience))); do
    status=$(curl -sf "$server/v1/jobs/$id" | node -pe 'JSON.parse(require("fs").readFileSync(0)).webhook.status')
    [[ $status == delivered ]] && break
    sleep 0.1
  done
  [[ $status == delivered ]] || fail "the webhook of $id is shown as $status"
done
echo "$self: all is as it shall be"
