#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Offers ten times of what the daemon can do, and looks at what it makes of it.

    tests/bench/overload.py EFMD [SECONDS] [--times 10] [--queue 64] [--connections 400] [--livez-ms 10] [--options "..."]

First the capacity: transfers of one image in ten steps by the demo model, 32 clients that wait for their answers. Then requests at ten
times that pace, whatever becomes of them (SECONDS, 120 unless said), while another process asks for /livez every 50 ms.

Demanded, or the exit status is 1: answers are 200 or 429 and nothing else, every 429 says Retry-After in 1..60, the p99 of /livez is
below --livez-ms, throughput stays above --least of the capacity, memory at the end is not above that of the middle by more than a
tenth and 16 MB, and the queue is empty afterwards."""

import argparse
import asyncio
import collections
import json
import pathlib
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from demo_daemon import PICTURE, DemoDaemon  # noqa: E402


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load):
        self.load = load
        self.received = b""
        self.begun = 0.0

    def connection_made(self, transport):
        self.transport = transport

    def send(self):
        self.begun = time.monotonic()
        self.received = b""
        self.transport.write(self.load.request)

    def data_received(self, data):
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = re.search(rb"\r\nContent-Length: (\d+)", self.received[:end + 2], re.I)
        if length is None or len(self.received) < end + 4 + int(length.group(1)):
            return
        self.load.answered(self, int(self.received[9:12]), self.received[:end + 2])

    def connection_lost(self, _error):
        if not self.load.over:  # also one that only waited: all take turns, so none is idle for long
            self.load.count["connection lost"] += 1


class Load:
    def __init__(self, port, request):
        self.port, self.request = port, request
        self.count = collections.Counter()
        self.accepted, self.silent = [], 0  # seconds of a 200; 429 without a word on when to come again
        self.idle, self.over, self.closed = collections.deque(), False, True

    def answered(self, client, status, head):
        self.count[status] += 1
        if status == 200:
            self.accepted.append(time.monotonic() - client.begun)
        if status == 429:
            wait = re.search(rb"\r\nRetry-After: (\d+)\r\n", head, re.I)
            if wait is None or not 1 <= int(wait.group(1)) <= 60:
                self.silent += 1
        if self.closed and not self.over:
            client.send()
        else:
            self.idle.append(client)

    async def connect(self, count):
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self.port)
            self.idle.append(client)

    async def finish(self, count):
        """Waits for the answers that are under way."""
        self.over = True
        end = time.monotonic() + 120
        while len(self.idle) < count and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for client in self.idle:
            client.transport.close()
        self.count["no answer"] += count - len(self.idle)

    async def in_turn(self, count, seconds):
        """Everybody waits for an answer before asking again; returns answers a second."""
        await self.connect(count)
        clients, self.idle = self.idle, collections.deque()
        for client in clients:
            client.send()
        give_up = time.monotonic() + 60
        while len(self.accepted) < count and time.monotonic() < give_up:  # the first round is longer
            await asyncio.sleep(0.01)
        before, begun = len(self.accepted), time.monotonic()
        while (len(self.accepted) < before + 2 * count or time.monotonic() < begun + seconds) and time.monotonic() < give_up:
            await asyncio.sleep(0.01)
        rate = (len(self.accepted) - before) / (time.monotonic() - begun)
        await self.finish(count)
        return rate

    async def at_pace(self, count, pace, seconds):
        """So many a second, whatever is answered; returns those that were sent."""
        self.closed = False
        await self.connect(count)
        begun = last = time.monotonic()
        owed = sent = 0
        while last - begun < seconds:
            now = time.monotonic()
            owed = min(owed + (now - last) * pace, 4 * count)
            last = now
            while owed >= 1 and self.idle:
                self.idle.popleft().send()
                owed -= 1
                sent += 1
            await asyncio.sleep(0.004)
        self.sending = time.monotonic() - begun
        await self.finish(count)
        self.seconds = time.monotonic() - begun
        return sent


def poll(port, seconds):
    """The other process: prints what /livez takes as JSON. One connection, opened anew when it is lost."""
    times, failures, connection = [], 0, None
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        try:
            if connection is None:
                connection = socket.create_connection(("127.0.0.1", port), timeout=10)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                failures += 1
        except OSError:
            failures, connection = failures + 1, None
        times.append(time.monotonic() - begun)
        time.sleep(max(0, begun + 0.05 - time.monotonic()))
    print(json.dumps({"times": times, "failures": failures}))


async def remember_memory(daemon, seconds, kept):
    for share in (0.02, 0.5, 0.98):
        await asyncio.sleep(max(0, kept["begun"] + share * seconds - time.monotonic()))
        kept["memory"].append(daemon.memory())


async def overload(daemon, options, request, pace):
    load, kept = Load(daemon.port, request), {"begun": time.monotonic(), "memory": []}
    poller = subprocess.Popen([sys.executable, __file__, "--poll", str(daemon.port), str(options.seconds)], stdout=subprocess.PIPE)
    memory = asyncio.create_task(remember_memory(daemon, options.seconds, kept))
    sent = await load.at_pace(options.connections, pace, options.seconds)
    await memory
    livez = json.loads(poller.communicate(timeout=60)[0])
    return load, sent, kept["memory"], livez


def report(options, capacity, load, sent, memory, livez):
    """Prints what was seen; returns what is not as demanded."""
    rate = load.count[200] / load.seconds  # until the last of them was answered
    p50, p99, most = (1000 * value for value in (quantile(livez["times"], 0.5), quantile(livez["times"], 0.99), max(livez["times"])))
    print(f"capacity             {capacity:9.1f} a second")
    print(f"offered              {sent / load.sending:9.1f} a second ({sent / load.sending / capacity:.1f} times)")
    print("answers              " + ", ".join(f"{count} x {status}" for status, count in sorted(load.count.items(), key=str) if count))
    print(f"accepted             {rate:9.1f} a second ({rate / capacity:.2f} of the capacity)")
    print(f"accepted took        {1000 * quantile(load.accepted, 0.5):9.1f} ms p50 {1000 * quantile(load.accepted, 0.99):9.1f} ms p99")
    print(f"/livez took          {p50:9.2f} ms p50 {p99:9.2f} ms p99 {most:9.2f} ms at most, {len(livez['times'])} times")
    print(f"memory               {memory[0]:9.1f} MB, {memory[1]:.1f} in the middle, {memory[2]:.1f} at the end")
    failures = []
    others = {status: count for status, count in load.count.items() if status not in (200, 429) and count}
    if others:
        failures.append(f"answers that are neither 200 nor 429: {others}")
    if not load.count[200] or not load.count[429]:
        failures.append("nothing was accepted, or nothing refused")
    if load.silent:
        failures.append(f"{load.silent} answers of 429 without a Retry-After of 1 to 60")
    if livez["failures"]:
        failures.append(f"/livez failed {livez['failures']} times")
    if p99 > options.livez_ms:
        failures.append(f"the p99 of /livez is above {options.livez_ms} ms")
    if rate < options.least * capacity:
        failures.append(f"throughput fell below {options.least} of the capacity")
    if memory[2] > 1.1 * memory[1] + 16:
        failures.append("memory grows")
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("seconds", nargs="?", type=float, default=120)
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--livez-ms", type=float, default=10)
    parser.add_argument("--least", type=float, default=0.5)
    parser.add_argument("--options", default="", help="of the daemon")
    options = parser.parse_args()
    picture = PICTURE.read_bytes()
    request = (b"POST /transfer?model=demo&steps=10&seed=1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
               + f"Content-Length: {len(picture)}\r\n\r\n".encode() + picture)
    daemon = DemoDaemon(options.program, "--queue", str(options.queue), *options.options.split())
    try:
        capacity = asyncio.run(Load(daemon.port, request).in_turn(32, min(10, max(2, options.seconds / 6))))
        failures = report(options, capacity, *asyncio.run(overload(daemon, options, request, options.times * capacity)))
        end = time.monotonic() + 10
        while daemon.metric("efm_queue_requests") > 0 and time.monotonic() < end:
            time.sleep(0.05)
        if daemon.metric("efm_queue_requests") > 0:
            failures.append("the queue did not get empty")
        if daemon.stop() != 0:
            failures.append("the daemon did not end well")
    finally:
        daemon.process.kill()
    for failure in failures:
        print(f"failed: {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--poll"]:
        poll(int(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
