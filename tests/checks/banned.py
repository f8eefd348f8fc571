#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Functions that are not called: anywhere, and in the floors that never print, never exit."""

import re

import sources

EVERYWHERE = """strcpy strcat strncat sprintf vsprintf gets strtok atoi atol atoll alloca system popen
    tmpnam mktemp rand srand""".split()
QUIET = """printf fprintf vprintf vfprintf dprintf puts fputs putchar perror exit _exit _Exit quick_exit abort
    signal sigaction""".split()
# All memory of core and api is taken in core/base/memory.c, so that its failure can be tested.
ALLOCATIONS = "malloc calloc realloc reallocarray aligned_alloc posix_memalign strdup strndup asprintf".split()
ALLOCATORS = ["core/base/memory.c"]


def calls(name, banned):
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(banned) + r")\s*\(")
    for number, line in enumerate(sources.code_of(name).splitlines(), 1):
        for match in pattern.finditer(line):
            yield number, match.group(1)


def main():
    complaints = []
    for name in sources.c_files():
        banned = list(EVERYWHERE)
        if name.startswith(("core/", "api/")):
            banned += QUIET
            if name not in ALLOCATORS:
                banned += ALLOCATIONS
        complaints += [f"{name}:{number}: {function} is banned here" for number, function in calls(name, banned)]
        complaints += [
            f"{name}: the first line must be the licence"
            for first in [sources.read_text(name).split("\n", 1)[0]]
            if name.endswith(".c") and first != "// SPDX-License-Identifier: Apache-2.0"
        ]
    sources.report(complaints, "banned functions")


main()
