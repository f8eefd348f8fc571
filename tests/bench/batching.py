#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Short requests beside long ones, batched at the step and batched by request.

    tests/bench/batching.py EFMD [--seconds 30] [--load 0.7] [--short-share 0.2] [--rounds 2]

Short: one image in 10 steps by the demo model. Long: 8 images in 200 steps. Both come at random (Poisson, the same moments for both
ways), so many that the daemon is busy for --load of the time, --short-share of it with short ones. At the step: every request
is sent when it comes, and its lines join the next evaluation. By request, as servers do that know nothing of steps: a gate in this program
takes waiting requests in the order in which they came, as many as make --images images, sends them together, and opens again when the last of
them is answered; the daemon is the same. Times are from the moment a request comes to its answer; the rounds take turns."""

import argparse
import collections
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from demo_daemon import PICTURE, DemoDaemon  # noqa: E402

KINDS = {"short": (1, 10), "long": (8, 200)}


class Daemon(DemoDaemon):
    def __init__(self, program):
        super().__init__(program, "--queue", "4096")
        self.picture = PICTURE.read_bytes()

    def carry(self, images, steps):
        status, data = self.call("POST", f"/transfer?model=demo&seed=1&timeout=3600&n={images}&steps={steps}", self.picture)
        assert status == 200, data[:300]

    def speed(self):
        """Evaluations a second, in full batches."""
        self.carry(64, 5)
        begun = time.monotonic()
        self.carry(64, 40)
        return 64 * 40 / (time.monotonic() - begun)


class Run:
    """All requests of one way through."""

    def __init__(self, daemon, arrivals, gate_images):
        self.daemon, self.arrivals, self.gate_images = daemon, arrivals, gate_images
        self.times = collections.defaultdict(list)
        self.lock = threading.Condition()
        self.waiting = collections.deque()
        self.under_way, self.over = 0, False

    def send(self, kind, came):
        self.daemon.carry(*KINDS[kind])
        with self.lock:
            self.times[kind].append(time.monotonic() - came)
            self.under_way -= 1
            self.lock.notify_all()

    def start(self, requests):
        self.under_way += len(requests)
        for request in requests:
            threading.Thread(target=self.send, args=request).start()

    def gate(self):
        with self.lock:
            while self.waiting or not self.over:
                if self.under_way or not self.waiting:
                    self.lock.wait(1)
                    continue
                images, batch = 0, []
                while self.waiting and images + KINDS[self.waiting[0][0]][0] <= self.gate_images:
                    batch.append(self.waiting.popleft())
                    images += KINDS[batch[-1][0]][0]
                self.start(batch)

    def run(self):
        gate = threading.Thread(target=self.gate)
        if self.gate_images:
            gate.start()
        begun = time.monotonic()
        for moment, kind in self.arrivals:
            time.sleep(max(0, begun + moment - time.monotonic()))
            with self.lock:
                request = (kind, time.monotonic())
                if self.gate_images:
                    self.waiting.append(request)
                    self.lock.notify_all()
                else:
                    self.start([request])
        with self.lock:
            self.over = True
            self.lock.notify_all()
            while self.waiting or self.under_way:
                self.lock.wait(1)
        if self.gate_images:
            gate.join()
        return time.monotonic() - begun


def moments(dice, pace, seconds):
    at = dice.expovariate(pace)
    while at < seconds:
        yield at
        at += dice.expovariate(pace)


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--load", type=float, default=0.7)
    parser.add_argument("--short-share", type=float, default=0.2)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    daemon = Daemon(options.program)
    try:
        speed = daemon.speed()
        shares = {"short": options.short_share, "long": 1 - options.short_share}
        paces = {kind: options.load * shares[kind] * speed / (KINDS[kind][0] * KINDS[kind][1]) for kind in KINDS}
        ways = {"at the step": 0, "by request": options.images}
        times = {way: collections.defaultdict(list) for way in ways}
        spent = dict.fromkeys(ways, 0.0)
        for round_number in range(options.rounds):
            dice = random.Random(options.seed + round_number)
            arrivals = sorted((at, kind) for kind in KINDS for at in moments(dice, paces[kind], options.seconds))
            for way, images in ways.items():
                run = Run(daemon, arrivals, images)
                spent[way] += run.run()
                for kind, values in run.times.items():
                    times[way][kind] += values
        print(f"{speed:.0f} evaluations a second; {paces['short']:.2f} short and {paces['long']:.2f} long requests a second")
        print("batched        short p50   short p99    long p50    long p99    requests    seconds")
        for way in ways:
            row = [1000 * quantile(times[way][kind], share) for kind in KINDS for share in (0.5, 0.99)]
            print(f"{way:12}" + "".join(f"{value:10.0f}ms" for value in row)
                  + f"{sum(map(len, times[way].values())):12d}{spent[way]:11.1f}")
        ratios = [quantile(times["by request"][kind], share) / quantile(times["at the step"][kind], share) for kind in KINDS for share in (0.5, 0.99)]
        print(f"{'ratio':12}" + "".join(f"{ratio:12.2f}" for ratio in ratios))
    finally:
        daemon.process.kill()
        daemon.process.wait()
        daemon.folder.cleanup()


main()
