#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The SDK of OpenAI for node asks for images and models, and catches its own classes of errors.
#
#   openai.sh EFMD     skipped (77) where the SDK cannot be installed
set -euo pipefail
source "$(dirname "$0")/contract/common.sh"
install_npm openai
start_daemon --queue 4
make_world
cd "$CLIENTS_DIR/openai"
timeout $((60 * ${TEST_PATIENCE:-1})) node "$root/tests/clients/openai/check.mjs" "$server" exact roll 4 || fail "the SDK sees something else"
