#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Words that must not stand in the repository: places of one machine, package registries, notes to oneself."""

import re

import sources

# Written with brackets so that this file does not find itself.
WORDS = [
    (r"(?<![\w.$}-])/wor[k](?![\w-])", "a path of one machine"),
    (r"(?<![\w.$}-])/tm[p]/", "a fixed place for temporary files (use TMPDIR or P_tmpdir)"),
    (r"(?<![\w.$}-])/hom[e]/\w", "a path of one machine"),
    (r"\bpyp[i]\.org|\bpythonhoste[d]\.org|\bnpmj[s]\.(org|com)|\bcrate[s]\.io|\bdeb\.debia[n]\.org"
     r"|\bdocke[r]\.io|\bgh[c]r\.io|\bqua[y]\.io|\bproxy\.golan[g]\.org", "a package registry"),
    (r"\bTOD[O]\b|\bFIXM[E]\b", "a note to oneself"),
]
BINARY = (".tar", ".png", ".jpg", ".jpeg", ".webp", ".gz", ".npy", ".npz", ".idx", ".safetensors", ".zip", ".bin")


def main():
    complaints = []
    for name in sources.project_files():
        if name.endswith(BINARY) or "/corpus/" in name or name == "LICENSE":
            continue
        for number, line in enumerate(sources.read_text(name).splitlines(), 1):
            for pattern, meaning in WORDS:
                match = re.search(pattern, line)
                if match:
                    complaints.append(f"{name}:{number}: {match.group(0)!r}: {meaning}")
    sources.report(complaints, "words")


main()
