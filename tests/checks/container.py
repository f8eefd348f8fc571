#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What can be said of the Dockerfile without a container engine: its stages, its user, its ports, that what it
copies exists, that its packages are known to apt where there is an apt, and that the last stage brings the
libraries that the program is linked with, and no others. Argument: the program."""

import os
import re
import shutil
import subprocess
import sys

import sources

NEEDED = {"ca-certificates"}  # no library: without it libcurl trusts no server, and datasets and webhooks by https fail


def instructions(text):
    """(word, rest) of each instruction, continuation lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def check_stages(steps):
    stages = [rest for word, rest in steps if word == "FROM"]
    if len(stages) < 2:
        yield "there must be a stage that builds and a stage that runs"
    last = max(index for index, (word, _) in enumerate(steps) if word == "FROM")
    final = steps[last + 1:]
    users = [rest.split(":")[0] for word, rest in final if word == "USER"]
    if not users or not users[-1].isdigit() or int(users[-1]) == 0:
        yield "the last stage must end with a USER by number that is not 0"
    words = {word for word, _ in final}
    for needed in ("ENTRYPOINT", "EXPOSE", "STOPSIGNAL", "VOLUME", "LABEL"):
        if needed not in words:
            yield f"the last stage has no {needed}"
    for word, rest in final:
        if word == "RUN" and re.search(r"-dev\b", rest):
            yield f"the last stage installs a -dev package: {rest[:60]}"
        if word == "ENTRYPOINT" and not rest.startswith("["):
            yield "ENTRYPOINT must be a list, so that signals reach the daemon"


def check_copies(steps):
    for word, rest in steps:
        if word not in ("COPY", "ADD") or "--from=" in rest:
            continue
        for path in rest.split()[:-1]:
            if not path.startswith("--") and not os.path.exists(os.path.join(sources.ROOT, path)):
                yield f"{word} of {path}, which does not exist"


def installed_by(steps):
    """The packages that the RUN steps install."""
    return {
        name
        for word, rest in steps
        if word == "RUN"
        for command in re.findall(r"apt-get install ([^&;]*)", rest)
        for name in command.split()
        if re.match(r"[a-z0-9][a-z0-9.+-]+$", name)
    }


def check_packages(steps):
    wanted = installed_by(steps)
    if not shutil.which("apt-cache") or not wanted:
        return
    shown = subprocess.run(["apt-cache", "policy", *sorted(wanted)], capture_output=True, text=True).stdout
    known = set(re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (?!\(none\))", shown, re.M))
    if known:
        for package in sorted(wanted - known):
            yield f"apt does not know the package {package}"


def linked_packages(program):
    """The packages of the libraries that the program itself asks for; empty where that cannot be told."""
    if not all(shutil.which(tool) for tool in ("readelf", "ldd", "dpkg-query")):
        return set()
    dynamic = subprocess.run(["readelf", "-d", program], capture_output=True, text=True).stdout
    places = dict(re.findall(r"(\S+) => (/\S+)", subprocess.run(["ldd", program], capture_output=True, text=True).stdout))
    packages = set()
    for library in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        path = places.get(library)
        for name in {path, os.path.realpath(path), re.sub("^/usr", "", path), "/usr" + path} if path else ():
            found = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True).stdout
            packages |= {line.split(":")[0] for line in found.splitlines() if not line.startswith("diversion")}
    return packages


def check_libraries(steps, program):
    last = max(index for index, (word, _) in enumerate(steps) if word == "FROM")
    brought = installed_by(steps[last:])
    always_there = re.compile(r"libc6|libgcc-s1|lib(a|ub|t|l)san\d+|libstdc\+\+6|libgomp1")
    for package in sorted(NEEDED - brought):
        yield f"the last stage does not install {package}"
    linked = {name for name in linked_packages(program) if not always_there.fullmatch(name)}
    if linked:
        for package in sorted(linked - brought):
            yield f"the program is linked with {package}, which the last stage does not install"
        for package in sorted(brought - linked - NEEDED):
            yield f"the last stage installs {package}, which the program is not linked with"


def main():
    steps = instructions(sources.read_text("Dockerfile"))
    complaints = [*check_stages(steps), *check_copies(steps), *check_packages(steps)]
    if len(sys.argv) > 1:
        complaints += check_libraries(steps, sys.argv[1])
    sources.report([f"Dockerfile: {line}" for line in complaints], "container")


main()
