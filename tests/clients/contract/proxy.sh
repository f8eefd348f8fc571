#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# proxy.js as one program: UPSTREAM PORT_FILE [LOG]
exec node "$(dirname "$0")/proxy.js" "$@"
