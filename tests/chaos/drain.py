#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM under load: what was accepted is answered.

    tests/chaos/drain.py EFMD [ROUNDS]

CLIENTS connections post /transfer all the time, half of them keeping theirs, half making a new one for each request, while a
training runs. After SIGTERM, /readyz says 503 at once and requests are still taken for --drain-delay; each request that was sent
before the daemon closed its door is answered in full, with 200, 429 or 503; the daemon ends with 0 in time; and after a
restart the training goes on from where it was. A second signal ends the daemon at once."""

import datetime
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

CLIENTS = 64
DELAY, SHUTDOWN = 1.0, 20.0
PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))
MOST_CUT = 2  # requests of clients that stood still from before the signal until the door had closed
SLACK = 0.1  # seconds: what arrives just as the door closes may be late
BODY = b'{"model":"roll","vectors":[[0.1,-0.7],[1.2,0.3]]}'
TRAINING = {"model": "learned", "source": "gaussian", "target": "roll", "seed": 1, "steps": 400000, "batch": 64,
            "charges": 256, "network": {"hidden": 32, "hidden2": 32}}


class Daemon:
    def __init__(self, program, folder, *options):
        self.folder = pathlib.Path(folder)
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        self.log_path = self.folder / f"log-{time.monotonic_ns()}"
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(
            [program, "--listen", "127.0.0.1:0", "--port-file", port_file, "--state-dir", self.folder / "state",
             "--train-threads", "1", "--checkpoint-seconds", "3600", "--access-log", "off", *options], stderr=self.log)
        end = time.monotonic() + 60
        while not port_file.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the daemon did not start:\n{self.log_path.read_text()[-2000:]}")
            time.sleep(0.01)
        self.port = int(port_file.read_text())

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30 * PATIENCE)
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data

    def json(self, method, path, body=None):
        status, data = self.call(method, path, body)
        assert 200 <= status < 300, (path, status, data)
        return json.loads(data)

    def wait(self, seconds):
        try:
            status = self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise SystemExit(f"the daemon did not end within {seconds} s")
        self.log.close()
        return status

    def moment_of(self, event):
        """When the log says so, in seconds since 1970."""
        for line in self.log_path.read_text().splitlines():
            entry = json.loads(line)
            if entry["event"] == event:
                return datetime.datetime.fromisoformat(entry["time"].replace("Z", "+00:00")).timestamp()
        raise SystemExit(f"the log has no {event}")


class Load:
    """Requests without end, and what became of each."""

    def __init__(self, port):
        self.port = port
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.counts = {}
        self.broken = []  # (when it had been sent, what happened)
        self.threads = [threading.Thread(target=self.run, args=(number % 2 == 0,)) for number in range(CLIENTS)]

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def run(self, keeps):
        connection = None
        while not self.stop.is_set():
            if connection is None:
                try:
                    connection = socket.create_connection(("127.0.0.1", self.port), timeout=30 * PATIENCE)
                except OSError:
                    self.count("refused")
                    return
            sent = None
            try:
                head = b"POST /transfer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % len(BODY) + BODY)
                sent = time.time()
                closes = self.read(connection)
            except (OSError, ValueError, http.client.HTTPException) as error:
                with self.lock:
                    self.broken.append((sent or time.time(), repr(error)))
                closes = True
            if closes or not keeps:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def read(self, connection):
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        data = answer.read()  # IncompleteRead when it is cut
        if len(data) != int(answer.headers["Content-Length"]):
            raise ValueError("truncated")
        document = json.loads(data)
        if answer.status == 200:
            good = len(document["data"]) == 2
        else:
            good = answer.status in (429, 503) and answer.headers["Content-Type"] == "application/problem+json"
        if not good:
            raise ValueError(f"{answer.status} {data[:200]!r}")
        self.count(answer.status)
        return answer.headers.get("Connection") == "close"


def check_probes(daemon):
    for path, wanted in (("/readyz", 503), ("/v2/health/ready", 503), ("/livez", 200), ("/v2/health/live", 200)):
        status, data = daemon.call("GET", path)
        assert status == wanted, (path, status, data)


def prepare(daemon):
    daemon.json("PUT", "/v1/datasets/noise", {"toy": "gaussian", "dimension": 2, "count": 200})
    daemon.json("PUT", "/v1/datasets/roll", {"toy": "swiss_roll", "count": 200})
    daemon.json("PUT", "/v1/models/roll", {"arch": "exact", "source": "noise", "target": "roll", "L": 6, "map": "stochastic"})
    return daemon.json("POST", "/train", TRAINING)["id"]


def wait_for_step(daemon, job, least):
    end = time.monotonic() + 60 * PATIENCE
    while time.monotonic() < end:
        answer = daemon.json("GET", f"/v1/jobs/{job}")
        assert answer["status"] in ("queued", "running"), answer
        if answer["status"] == "running" and (answer["step"] or 0) >= least:
            return answer["step"]
        time.sleep(0.02)
    raise SystemExit(f"the training did not come to step {least}")


def drain_once(program, folder, job):
    daemon = Daemon(program, folder, "--drain-delay", str(DELAY), "--shutdown-timeout", str(SHUTDOWN), "--queue", "48")
    first = job is None
    job = prepare(daemon) if first else job[0], 1 if first else job[1]
    step = wait_for_step(daemon, job[0], job[1])
    load = Load(daemon.port)
    for thread in load.threads:
        thread.start()
    time.sleep(0.7)
    step = max(step, wait_for_step(daemon, job[0], step))
    before = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    check_probes(daemon)
    at_signal = sum(load.counts.get(status, 0) for status in (200, 429))
    status = daemon.wait(DELAY + SHUTDOWN + 5)
    took = time.monotonic() - before
    load.stop.set()
    for thread in load.threads:
        thread.join()
    closed = daemon.moment_of("stopping")
    lost = [(round(sent - closed, 3), what) for sent, what in load.broken if sent < closed - SLACK]
    print(f"status {status} after {took:.2f} s, answers {load.counts}, cut off after the door closed: {len(load.broken) - len(lost)}")
    assert status == 0, daemon.log_path.read_text()[-2000:]
    assert len(load.broken) <= MOST_CUT, f"{len(load.broken)} requests were cut off"
    assert not lost, f"{len(lost)} requests were not answered: {lost[:5]}"
    assert took >= DELAY and took < DELAY + SHUTDOWN + 5 * PATIENCE
    assert load.counts.get(200, 0) + load.counts.get(429, 0) > at_signal, "nothing was taken after the signal"
    return job[0], step


def end_at_once(program, folder):
    daemon = Daemon(program, folder, "--drain-delay", "60")
    daemon.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert daemon.process.poll() is None
    check_probes(daemon)
    before = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    status = daemon.wait(5)
    assert status == 1, status
    print(f"a second signal ended it in {time.monotonic() - before:.3f} s")


def main():
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    with tempfile.TemporaryDirectory(prefix="efmd-drain-") as folder:
        job = None
        for _ in range(rounds):
            job = drain_once(sys.argv[1], folder, job)
        daemon = Daemon(sys.argv[1], folder)
        print(f"the training went on from step {job[1]} to {wait_for_step(daemon, job[0], job[1] + 1)}")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
        end_at_once(sys.argv[1], folder)


main()
