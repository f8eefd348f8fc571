#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The unit file of systemd: understood by systemd itself, and exposed little. Argument: the program.

Skipped (77) where there is no systemd-analyze."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import sources

MOST_EXPOSURE = 2.5  # of 10, as systemd-analyze security counts


def run(*command):
    return subprocess.run(command, text=True, capture_output=True, check=False, timeout=60)


def main():
    complaints = []
    text = sources.read_text("deploy/efmd.service")
    start = re.search(r"(?m)^ExecStart=(.*)$", text).group(1).split()
    if "--config" not in start or not os.path.exists(os.path.join(sources.ROOT, "deploy", os.path.basename(start[start.index("--config") + 1]))):
        complaints.append("deploy/efmd.service: it reads no file of options that lies beside it")
    if re.search(r"(?m)^Environment=.*EFM_", text):
        complaints.append("deploy/efmd.service: an option in the environment beats the file")
    if complaints:
        sources.report(complaints, "service")
    if shutil.which("systemd-analyze") is None:
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "efmd.service")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("/usr/bin/efmd", os.path.abspath(sys.argv[1])))
        verdict = run("systemd-analyze", "verify", "--man=no", path)
        ours = [line for line in verdict.stderr.splitlines() if "efmd" in line]
        if ours:
            complaints += [f"deploy/efmd.service: {line}" for line in ours]
        security = run("systemd-analyze", "security", "--offline=yes", "--no-pager", path)
        found = re.search(r"exposure level for \S+: ([0-9.]+)", security.stdout)
        if found is None:
            print("systemd-analyze cannot judge a file here:", security.stderr.strip()[:200])
        else:
            print(f"exposure {found.group(1)} of 10")
            if float(found.group(1)) > MOST_EXPOSURE:
                complaints.append(f"deploy/efmd.service: exposure {found.group(1)}, at most {MOST_EXPOSURE}")
    sources.report(complaints, "service")


main()
