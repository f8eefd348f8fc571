#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Transfers a second of the demo model over HTTP, PNG in and PNG out, against the same network behind FastAPI and PyTorch.

    tests/bench/serve_speed.py EFMD REFERENCE_UNET.py [--rounds 3] [--seconds 8] [--connections 1 8 64]

Both servers stay up and take turns under wrk; printed are the medians of images a second, their ratio, and efmd's share of time outside
of the network. A turn begins when both have come to rest. Needs wrk, python3-torch, python3-fastapi, python3-uvicorn, python3-pil."""

import argparse
import http.client
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "deploy" / "demo"
PICTURE = DEMO / "unseen" / "3-05131.png"
MODEL = DEMO / "threes-to-twos.safetensors"


def call(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data


def wait_for(port, path):
    for _ in range(600):
        try:
            call(port, "GET", path)
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


def wrk(port, connections, seconds, script):
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", script,
                          f"http://127.0.0.1:{port}/transfer"], capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if bad:
        sys.exit(f"{bad.group(0)} on port {port}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def metric(port, name):
    text = call(port, "GET", "/metrics")[1].decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rest(*processes):
    """Until none of them works: what clients have left behind must not be paid for by the other one."""
    before = None
    while (now := [round(cpu_seconds(process), 1) for process in processes]) != before:
        before = now
        time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("efmd")
    parser.add_argument("reference")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder, "post.lua")
        body = "".join(f"\\{byte:03}" for byte in PICTURE.read_bytes())
        script.write_text(f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "image/png"\nwrk.body = "{body}"\n')
        port_file = pathlib.Path(folder, "port")
        ours = subprocess.Popen([options.efmd, "--listen", "127.0.0.1:0", "--port-file", port_file, "--log-level", "error"])
        environment = dict(os.environ, REFERENCE_UNET=str(pathlib.Path(options.reference).resolve()), MODEL=str(MODEL),
                           PYTHONPATH=str(ROOT / "tests" / "bench"))
        theirs = subprocess.Popen([sys.executable, "-m", "uvicorn", "serve_torch:app", "--port", "8991", "--log-level", "error"],
                                  env=environment)
        try:
            while not port_file.exists():
                time.sleep(0.05)
            port = int(port_file.read_text())
            call(port, "PUT", "/v1/models/demo", MODEL.read_bytes())
            wait_for(8991, "/docs")
            for answer in (call(p, "POST", "/transfer", PICTURE.read_bytes()) for p in (port, 8991)):
                assert answer[0] == 200, answer
            print("connections   efmd/s   FastAPI+PyTorch/s   ratio   time in evaluations")
            for connections in options.connections:
                rates = ([], [])
                share = []
                for _ in range(options.rounds):
                    rest(ours, theirs)
                    before, began = metric(port, "efm_step_seconds_sum"), time.monotonic()
                    rates[0].append(wrk(port, connections, options.seconds, script))
                    share.append((metric(port, "efm_step_seconds_sum") - before) / (time.monotonic() - began))
                    rest(ours, theirs)
                    rates[1].append(wrk(8991, connections, options.seconds, script))
                mine, other = map(statistics.median, rates)
                print(f"{connections:11} {mine:8.1f} {other:19.1f} {mine / other:7.2f} {statistics.median(share):14.1%}", flush=True)
        finally:
            ours.kill()
            theirs.kill()


main()
