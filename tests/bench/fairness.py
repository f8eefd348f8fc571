#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long short requests take while long ones keep the queue full.

    tests/bench/fairness.py EFMD [EFMD...] [--seconds 20] [--heavy 32] [--heavy-steps 500] [--heavy-images 64]

For each program: the time of a transfer of one image in 10 steps by the demo model on an idle daemon, then beside --heavy
clients that each ask for --heavy-images results of --heavy-steps steps, again and again; p50 and p99 of both, their ratio, and the
evaluations a second under load. Programs take turns, so that they see the same machine."""

import argparse
import http.client
import pathlib
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from demo_daemon import PICTURE, DemoDaemon  # noqa: E402


def light_times(daemon, seconds, picture):
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        status, body = daemon.call("POST", f"/transfer?model=demo&steps=10&seed={len(times)}", picture)
        assert status == 200, body[:300]
        times.append(time.monotonic() - started)
    return times


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def measure(program, options, picture):
    daemon = DemoDaemon(program)
    try:
        light_times(daemon, 1, picture)
        alone = light_times(daemon, options.seconds / 4, picture)
        stop = threading.Event()

        def heavy(number):
            path = (f"/transfer?model=demo&n={options.heavy_images}&steps={options.heavy_steps}&seed={number}"
                    f"&timeout=3600{options.heavy_query}")
            while not stop.is_set():
                try:
                    status, _ = daemon.call("POST", path, picture)
                except (OSError, http.client.HTTPException):
                    if stop.is_set():
                        return  # the daemon was killed with this one under way
                    raise
                if status == 429:
                    time.sleep(0.2)

        for number in range(options.heavy):
            threading.Thread(target=heavy, args=(number,), daemon=True).start()
        time.sleep(3)
        before, began = daemon.metric("efm_function_evaluations_total"), time.monotonic()
        loaded = light_times(daemon, options.seconds, picture)
        rate = (daemon.metric("efm_function_evaluations_total") - before) / (time.monotonic() - began)
        stop.set()
        return alone, loaded, rate
    finally:
        daemon.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", nargs="+")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--heavy", type=int, default=32)
    parser.add_argument("--heavy-steps", type=int, default=500)
    parser.add_argument("--heavy-images", type=int, default=64)
    parser.add_argument("--heavy-query", default="")
    options = parser.parse_args()
    picture = PICTURE.read_bytes()
    print("program                        idle p50   idle p99   busy p50   busy p99   ratio p50   ratio p99   evaluations/s")
    for program in options.programs:
        alone, loaded, rate = measure(program, options, picture)
        row = [quantile(alone, 0.5), quantile(alone, 0.99), quantile(loaded, 0.5), quantile(loaded, 0.99)]
        print(f"{program[-28:]:28}" + "".join(f"{1000 * value:9.1f}ms" for value in row) +
              f"{row[2] / statistics.median(alone):12.2f}{row[3] / row[1]:12.2f}{rate:16.0f}", flush=True)


if __name__ == "__main__":
    main()
