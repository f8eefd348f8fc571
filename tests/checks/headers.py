#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every header compiles alone, twice over, with gcc and with clang. Arguments: flags for the compilers."""

import concurrent.futures
import shutil
import subprocess
import sys

import sources

FLAGS = ["-std=c17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", sources.ROOT, "-x", "c", "-"]


def compile_alone(job):
    compiler, name = job
    text = f'#include "{name}"\n#include "{name}"\nint efm_not_empty;\n'
    run = subprocess.run([compiler, *sys.argv[1:], *FLAGS], input=text, text=True, capture_output=True)
    return f"{name} does not compile alone with {compiler}:\n{run.stderr}" if run.returncode else None


def main():
    compilers = [name for name in ("gcc", "clang") if shutil.which(name)]
    if not compilers:
        sys.exit(77)
    jobs = [(compiler, name) for name in sources.c_files() if name.endswith(".h") for compiler in compilers]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        complaints = [line for line in pool.map(compile_alone, jobs) if line]
    print(f"{len(jobs)} compilations with {' and '.join(compilers)}")
    sources.report(complaints, "headers")


main()
