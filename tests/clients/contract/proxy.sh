#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A port of proxy.js before a daemon, as a program of its own: UPSTREAM PORT_FILE. PRISM_PROXY is where proxy.js takes orders.
curl -sf -o /dev/null -X POST --url-query "upstream=$1" --url-query "port_file=$2" "$PRISM_PROXY/" || exit 1
exec sleep infinity
