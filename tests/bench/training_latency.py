#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a training on all cores does to the times of transfers.

    tests/bench/training_latency.py EFMD [EFMD...] [--seconds 10] [--rounds 3] [--clients 1] [--network small|published]

For each program, in turns: --seconds of transfers (one picture, 10 steps of the demo model, by --clients clients that each wait for
their answer) without a training, then as many beside one; p50 and p99 of both, their ratios, and the steps a second of the training
while transfers run and while nobody asks."""

import argparse
import json
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from demo_daemon import DEMO, DemoDaemon  # noqa: E402

SMALL = {"nf": 32, "ch_mult": [1, 1, 2], "blocks": 1, "attention": []}
PUBLISHED = {"nf": 128, "ch_mult": [1, 2, 2, 2], "blocks": 4, "attention": [16]}


def transfers(daemon, seconds, clients, picture):
    """Seconds of each transfer."""
    times, end = [], time.monotonic() + seconds

    def ask(client):
        while time.monotonic() < end:
            started = time.monotonic()
            status, body = daemon.call("POST", f"/transfer?model=demo&steps=10&seed={client}", picture)
            assert status == 200, body[:300]
            times.append(time.monotonic() - started)

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def job_state(daemon, job):
    return json.loads(daemon.call("GET", f"/v1/jobs/{job}")[1])


def begin_training(daemon, network):
    """Returns once it makes steps."""
    spec = {"source": "threes", "target": "twos", "image": {"height": 32, "width": 32}, "network": network, "batch": 64,
            "charges": 1024, "steps": 1000000, "model": "trained", "replace": True}
    status, body = daemon.call("POST", "/v1/train", json.dumps(spec).encode())
    assert status == 202, body
    job = json.loads(body)["id"]
    while job_state(daemon, job)["step"] < 2:
        assert job_state(daemon, job)["status"] in ("queued", "running"), job_state(daemon, job)
        time.sleep(0.2)
    return job


def end_training(daemon, job):
    daemon.call("POST", f"/v1/jobs/{job}/cancel")
    while job_state(daemon, job)["status"] == "running":
        time.sleep(0.1)


def pace(daemon, job, seconds_of):
    """Steps a second while seconds_of runs; what it gives."""
    before, started = job_state(daemon, job)["step"], time.monotonic()
    result = seconds_of()
    return (job_state(daemon, job)["step"] - before) / (time.monotonic() - started), result


def measure(daemon, options, picture, found):
    found["without"] += transfers(daemon, options.seconds, options.clients, picture)
    job = begin_training(daemon, SMALL if options.network == "small" else PUBLISHED)
    rate, times = pace(daemon, job, lambda: transfers(daemon, options.seconds, options.clients, picture))
    found["with"] += times
    found["beside"].append(rate)
    found["alone"].append(pace(daemon, job, lambda: time.sleep(options.seconds / 2))[0])
    end_training(daemon, job)


def quantile(times, share):
    times = sorted(times)
    return times[min(len(times) - 1, int(share * len(times)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="+")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--network", choices=("small", "published"), default="small")
    options = parser.parse_args()
    picture = sorted((DEMO / "unseen").glob("3-*.png"))[0].read_bytes()
    daemons = [DemoDaemon(program) for program in options.programs]
    found = [{"without": [], "with": [], "beside": [], "alone": []} for _ in daemons]
    for daemon in daemons:
        for name in ("threes", "twos"):
            status, body = daemon.call("PUT", f"/v1/datasets/{name}", pathlib.Path(DEMO, f"{name}.tar").read_bytes())
            assert status == 201, body
        transfers(daemon, 1, options.clients, picture)
    for _ in range(options.rounds):
        for daemon, numbers in zip(daemons, found):
            measure(daemon, options, picture, numbers)
    for program, numbers in zip(options.programs, found):
        p50 = [quantile(numbers[kind], 0.50) * 1000 for kind in ("without", "with")]
        p99 = [quantile(numbers[kind], 0.99) * 1000 for kind in ("without", "with")]
        print(f"{program}: {options.clients} clients, {len(numbers['without'])} and {len(numbers['with'])} transfers: "
              f"p50 {p50[0]:.1f} then {p50[1]:.1f} ms ({p50[1] / p50[0]:.2f} times), "
              f"p99 {p99[0]:.1f} then {p99[1]:.1f} ms ({p99[1] / p99[0]:.2f} times); "
              f"training {sum(numbers['beside']) / options.rounds:.2f} steps/s beside them, "
              f"{sum(numbers['alone']) / options.rounds:.2f} alone")
    for daemon in daemons:
        daemon.stop()


if __name__ == "__main__":
    main()
