# SPDX-License-Identifier: Apache-2.0
"""Every curl line of README.md works as printed: runs the lines of its ```sh blocks in order against a fresh daemon. The ```sh blocks
of docs/*.md follow, each as one script; a curl line in a block of another kind is an error. Its ```python blocks are run last, where
numpy is installed, but for those that import torch. Blocks of no kind (containers, builds) are not run. At the end a daemon starts on
the backup that docs/deploy.md makes. Argument: the program."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import sources


def blocks_of(name, kind="sh"):
    return re.findall(rf"```{kind}\n(.*?)```", sources.read_text(name), re.S)


def python_with_numpy():
    """An interpreter that has numpy, which Debian gives to its own one; None where there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        if os.path.exists(python) and subprocess.run([python, "-c", "import numpy"], capture_output=True).returncode == 0:
            return python
    return None


def run_python(work, url):
    """What is wrong with the ```python blocks of README.md against the daemon at `url`."""
    python = python_with_numpy()
    blocks = [block for block in blocks_of("README.md", "python") if "import torch" not in block]
    if not any("http://127.0.0.1:8080/" in block for block in blocks):
        yield "README.md has no Python that asks a daemon"
    if python is None:
        print("numpy is not installed: the Python of README.md was not run")
        return
    for block in blocks:
        block = block.replace("http://127.0.0.1:8080", url)
        run = subprocess.run([python, "-c", block], cwd=work, capture_output=True, text=True, timeout=120)
        promised = re.search(r"print\(.*\)  # (\([^)]*\))", block)
        if run.returncode or (promised and run.stdout.strip() != promised.group(1)):
            yield f"{block}: ends with {run.returncode} {run.stdout[:300]} {run.stderr[-300:]}"


def documents():
    return sorted("docs/" + name for name in os.listdir(os.path.join(sources.ROOT, "docs")) if name.endswith(".md"))


def hidden_lines(name):
    """The curl lines of blocks that nothing runs."""
    blocks = re.findall(r"^```([^\n]*)\n(.*?)^```", sources.read_text(name), re.S | re.M)
    return [f"{name}: not in a ```sh block: {line}" for kind, block in blocks if kind != "sh" for line in block.splitlines() if re.match(r"\s*curl ", line)]


def start_daemon(work, state):
    """A daemon on a state directory below `work`, and its address."""
    port_file = os.path.join(work, state + ".port")
    daemon = subprocess.Popen(
        [sys.argv[1], "--listen", "127.0.0.1:0", "--port-file", port_file, "--state-dir", os.path.join(work, state), "--log-level", "error"]
    )
    for _ in range(600):
        if os.path.exists(port_file) or daemon.poll() is not None:
            break
        time.sleep(0.05)
    if not os.path.exists(port_file):
        daemon.kill()
        sys.exit(f"efmd does not start on {state}")
    with open(port_file, encoding="utf-8") as file:
        return daemon, "http://127.0.0.1:" + file.read().strip()


def check_backup(work, url):
    """The daemon on the copy must give the same bytes."""
    daemon, copy = start_daemon(work, "backup")
    try:
        answers = [
            subprocess.run(["curl", "-sf", "-X", "POST", f"{at}/generate?model=exact&n=1&seed=3"], capture_output=True, timeout=60).stdout
            for at in (url, copy)
        ]
        if not answers[0] or answers[0] != answers[1]:
            yield "a daemon on the backup of docs/deploy.md answers otherwise"
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


def main():
    if shutil.which("curl") is None:
        sys.exit(77)
    lines = [line for block in blocks_of("README.md") for line in block.splitlines() if line.startswith("curl ")]
    if len(lines) < 5:
        sys.exit("README.md shows fewer than five curl lines")
    work = tempfile.mkdtemp()
    shutil.copytree(os.path.join(sources.ROOT, "deploy", "demo"), os.path.join(work, "deploy", "demo"))
    daemon, url = start_daemon(work, "state")
    complaints = [line for name in ["README.md"] + documents() for line in hidden_lines(name)]
    try:
        environment = dict(os.environ, H=url)
        for line in lines + [block for name in documents() for block in blocks_of(name)]:
            run = subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=work, env=environment, capture_output=True, timeout=120)
            if run.returncode:
                complaints.append(f"{line}: ends with {run.returncode} {run.stdout[:300]} {run.stderr[-300:]}")
            for named in re.finditer(r" -o ([a-z]\S+)", line):
                if run.returncode:
                    break
                path = os.path.join(work, named.group(1))
                with open(path, "rb") as file:
                    start = file.read(8)
                if path.endswith(".png") and start != b"\x89PNG\r\n\x1a\n":
                    complaints.append(f"{line}: {named.group(1)} is not a PNG")
                if not start:
                    complaints.append(f"{line}: {named.group(1)} is empty")
        complaints += run_python(work, url)
        complaints += check_backup(work, url)
    finally:
        daemon.send_signal(signal.SIGTERM)
        status = daemon.wait(60)
        shutil.rmtree(work, ignore_errors=True)
    if status:
        complaints.append(f"efmd ends with status {status}")
    sources.report(complaints, "README lines")


main()
