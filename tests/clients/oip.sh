#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The client of Triton speaks the Open Inference Protocol: health, metadata, the repository, tensors in binary and in JSON, errors.
#
#   oip.sh EFMD        skipped (77) where tritonclient[http] cannot be installed
set -euo pipefail
source "$(dirname "$0")/contract/common.sh"
install_python oip
start_daemon
make_world
timeout $((60 * ${TEST_PATIENCE:-1})) "$venv/bin/python" "$root/tests/clients/oip/check.py" "$server" exact roll ||
  fail "tritonclient sees something else"
