# SPDX-License-Identifier: Apache-2.0
"""Every curl line of README.md works as printed: runs the lines of its ```sh blocks in order against a fresh daemon. The ```sh blocks
of docs/*.md follow, each as one script; a curl line in a block of another kind is an error. Argument: the program."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import sources


def blocks_of(name):
    return re.findall(r"```sh\n(.*?)```", sources.read_text(name), re.S)


def documents():
    return sorted("docs/" + name for name in os.listdir(os.path.join(sources.ROOT, "docs")) if name.endswith(".md"))


def hidden_lines(name):
    """The curl lines of blocks that nothing runs."""
    blocks = re.findall(r"^```([^\n]*)\n(.*?)^```", sources.read_text(name), re.S | re.M)
    return [f"{name}: not in a ```sh block: {line}" for kind, block in blocks if kind != "sh" for line in block.splitlines() if re.match(r"\s*curl ", line)]


def main():
    if shutil.which("curl") is None:
        sys.exit(77)
    lines = [line for block in blocks_of("README.md") for line in block.splitlines() if line.startswith("curl ")]
    if len(lines) < 5:
        sys.exit("README.md shows fewer than five curl lines")
    work = tempfile.mkdtemp()
    shutil.copytree(os.path.join(sources.ROOT, "deploy", "demo"), os.path.join(work, "deploy", "demo"))
    port_file = os.path.join(work, "port")
    daemon = subprocess.Popen(
        [sys.argv[1], "--listen", "127.0.0.1:0", "--port-file", port_file, "--state-dir", os.path.join(work, "state"), "--log-level", "error"]
    )
    complaints = [line for name in ["README.md"] + documents() for line in hidden_lines(name)]
    try:
        for _ in range(200):
            if os.path.exists(port_file) and os.path.getsize(port_file):
                break
            time.sleep(0.05)
        with open(port_file, encoding="utf-8") as file:
            environment = dict(os.environ, H="http://127.0.0.1:" + file.read().strip())
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
    finally:
        daemon.send_signal(signal.SIGTERM)
        status = daemon.wait(60)
        shutil.rmtree(work, ignore_errors=True)
    if status:
        complaints.append(f"efmd ends with status {status}")
    sources.report(complaints, "README lines")


main()
