#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two linters over the contract that a running efmd gives: no errors and no warnings.
#
#   lint.sh EFMD       skipped (77) where spectral and redocly cannot be installed
set -euo pipefail
source "$(dirname "$0")/contract/common.sh"
install_npm contract

# lint FOLDER : the document in it, by both.
lint() {
  local folder=$1
  echo "== spectral: $(basename "$folder")"
  "$node_modules/.bin/spectral" lint --ruleset "$contract/spectral.yaml" --fail-severity=hint \
    "$folder/openapi.json" || fail "spectral complains"
  echo "== redocly: $(basename "$folder")"
  "$node_modules/.bin/redocly" lint --config "$contract/redocly.yaml" --format=json "$folder/openapi.json" \
    >"$folder/redocly.json" 2>"$folder/redocly.log" ||
    { cat "$folder/redocly.json" "$folder/redocly.log"; fail "redocly complains"; }
  # a warning leaves the status at 0
  node -e 'const { errors, warnings } = JSON.parse(require("fs").readFileSync(process.argv[1])).totals;
           process.exit(errors + warnings > 0 ? 1 : 0);' "$folder/redocly.json" ||
    { cat "$folder/redocly.json"; fail "redocly warns"; }
}

start_daemon
mkdir "$home/open"
curl -sf "$server/openapi.json" -o "$home/open/openapi.json"
curl -sf "$server/v1/openapi.json" | cmp - "$home/open/openapi.json" || fail "/v1/openapi.json says something else"
lint "$home/open"
echo "$self: the contract is clean"
