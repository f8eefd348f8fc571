#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A file is one noun: warns past 500 lines, refuses past 1000; and no file that is kept is large."""

import os

import sources

WARN, REFUSE, BYTES = 500, 1000, 4 << 20
# The demo model is to have less than 6 MB.
LARGER = {"deploy/demo/threes-to-twos.safetensors": 6_000_000}


def main():
    complaints = []
    for name in sources.project_files():
        size = os.path.getsize(os.path.join(sources.ROOT, name))
        most = LARGER.get(name, BYTES)
        if size > most:
            complaints.append(f"{name}: {size} bytes, more than {most}")
        if not name.endswith((".c", ".h", ".py", ".sh")):
            continue
        lines = sources.read_text(name).count("\n")
        if lines > REFUSE:
            complaints.append(f"{name}: {lines} lines, split it by noun")
        elif lines > WARN:
            print(f"warning: {name}: {lines} lines, more than {WARN}")
    sources.report(complaints, "lengths")


main()
