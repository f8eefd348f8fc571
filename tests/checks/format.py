#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The C files are as clang-format 14 leaves them. Skipped where that version is not installed."""

import re
import shutil
import subprocess
import sys

import sources


def find_clang_format():
    for name in ("clang-format-14", "clang-format"):
        path = shutil.which(name)
        if path:
            version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
            if re.search(r"version 14\.", version):
                return path
    return None


def main():
    program = find_clang_format()
    if not program:
        print("clang-format 14 is not installed")
        sys.exit(77)
    run = subprocess.run(
        [program, "--style=file", "--dry-run", "-Werror", "--ferror-limit=1", *sources.c_files()],
        cwd=sources.ROOT,
        capture_output=True,
        text=True,
    )
    complaints = sorted({line for line in run.stderr.splitlines() if ": error: " in line})
    if run.returncode and not complaints:
        complaints = [run.stderr]
    sources.report(complaints, "format")


main()
