#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Documents and program agree: every flag of `efmd --help` is explained in README.md or docs/, every flag and
every metric named there exists, every path that a document says to look at is there. Blocks of YAML parse, where
there is a parser, and so do the alerts, which look at metrics that exist. Argument: the program."""

import os
import re
import subprocess
import sys

import sources


ALERTS = "deploy/prometheus-alerts.yml"


def yaml_texts(texts):
    for name, text in texts.items():
        for block in re.findall(r"```yaml\n(.*?)```", text, re.S):
            yield name, block
    yield ALERTS, sources.read_text(ALERTS)


def check_yaml(texts, flags, metrics):
    try:
        import yaml
    except ImportError:
        yaml = None
    for name, text in yaml_texts(texts):
        try:
            if yaml is not None and not isinstance(yaml.safe_load(text), dict):
                yield f"{name}: a block of YAML is no mapping"
        except yaml.YAMLError as error:
            yield f"{name}: {error}"
        for flag in re.findall(r"(?<![\w-])(--[a-z][a-z0-9-]+)=", text):
            if flag not in flags:
                yield f"{name}: efmd has no {flag}"
        for metric in re.findall(r"\befm_[a-z_]+", text):
            if metric not in metrics:
                yield f"{name}: there is no metric {metric}"


def documents():
    return [name for name in sources.project_files() if name == "README.md" or re.match(r"docs/.*\.md$", name)]


def main():
    names = documents()
    if not names:
        print("there are no documents yet")
        sys.exit(77)
    texts = {name: sources.read_text(name) for name in names}
    everything = "\n".join(texts.values())
    run = subprocess.run([sys.argv[1], "--help"], capture_output=True, text=True, timeout=60)
    if run.returncode:
        sys.exit(f"efmd --help ends with status {run.returncode}: {run.stderr}")
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", run.stdout))
    complaints = [f"{flag} is in no document" for flag in sorted(flags) if not re.search(re.escape(flag) + r"(?![\w-])", everything)]

    metrics = set(re.findall(r'"(efm_[a-z_]+)"', sources.read_text("server/metrics.h")))
    for name, text in texts.items():
        for link in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text):
            if not os.path.exists(os.path.join(sources.ROOT, os.path.dirname(name), link)):
                complaints.append(f"{name}: the link {link} leads nowhere")
        for flag in re.findall(r"\befmd[^\n`|]*?(?<![\w-])(--[a-z][a-z0-9-]+)", text):
            if flag not in flags:
                complaints.append(f"{name}: efmd has no {flag}")
        for metric in re.findall(r"\befm_[a-z_]+_(?:total|seconds|bytes|in_flight|info|images)\b", text):
            if metric not in metrics:
                complaints.append(f"{name}: there is no metric {metric}")
    complaints += check_yaml(texts, flags, metrics)
    sources.report(complaints, "documents")


main()
