#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the program says of itself and of its configuration. Argument: the program."""

import os
import re
import subprocess
import sys
import tempfile

import sources

WORDS = ("efmd", "compiler", "libmicrohttpd", "jansson", "onednn", "processor", "instruction set", "field kernels", "precision")


def run(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EFM_")}
    return subprocess.run([sys.argv[1], *arguments], text=True, capture_output=True, check=False, timeout=60,
                          env={**clean, **environment})


def check_sample(expect):
    """The file of the service: good as it is, and so is every option that it names."""
    text = sources.read_text("deploy/efmd.conf")
    named = re.sub(r"(?m)^#(?=[a-z])", "", text)
    expect(named.count("=") > 10 and named != text, "deploy/efmd.conf names no options")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "efmd.conf")
        for content in (text, named):
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
            verdict = run("--config", path, "--check-config")
            expect(verdict.returncode == 0, f"deploy/efmd.conf: {verdict.stderr!r}")


def main():
    complaints = []

    def expect(good, text):
        if not good:
            complaints.append(text)

    version = run("--version")
    lines = version.stdout.splitlines()
    expect(version.returncode == 0 and len(lines) == len(WORDS), f"--version says {version.stdout!r}")
    for line, word in zip(lines, WORDS):
        expect(line.startswith(word + " ") and len(line) > len(word) + 1, f"--version: {line!r} in place of {word}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "efmd.conf")
        for text, environment, arguments, good in (
                ("queue = 5\n", {}, [], True),
                ("queue = 5\n", {"EFM_BATCH": "8"}, ["--access-log", "off"], True),
                ("queue = none\n", {}, [], False),
                ("quueue = 5\n", {}, [], False),
                ("access-log = work\n", {}, [], True),
                ("access-log = off\n", {}, ["--access-log", "errors"], True),
                ("", {"EFM_BATCH": "0"}, [], False),
                ("", {}, ["--access-log", "maybe"], False),
                ("", {}, ["--header-timeout", "0"], False),
                ("", {}, ["--listen", "localhost"], False)):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            verdict = run("--config", path, "--check-config", *arguments, **environment)
            what = f"--check-config of {text!r} {environment} {arguments}: {verdict.returncode} {verdict.stderr!r}"
            if good:
                expect(verdict.returncode == 0 and "good" in verdict.stdout and not verdict.stderr, what)
            else:
                expect(verdict.returncode == 2 and not verdict.stdout and "efmd: " in verdict.stderr, what)
    check_sample(expect)
    sources.report(complaints, "program")


main()
