#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM under load: what was accepted is answered.

    tests/chaos/drain.py EFMD [ROUNDS]

CLIENTS connections post all the time, half of them keeping theirs, half making a new one for each request, while a training
runs; half of them speak to /transfer, the others the protocols of other servers, whose requests are made once more inside.
After SIGTERM, /readyz says 503 at once and requests are still taken for --drain-delay; each request that was sent before the
daemon closed its door is answered in full, with 200, 429 or 503; none that was taken is refused on its way inside; the daemon
ends with 0 in time; and after a restart the training goes on from where it was. A second signal ends the daemon at once."""

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
GRACE = 5  # seconds that the daemon gives its threads past --shutdown-timeout
SLACK = 0.1  # seconds: what arrives just as the door closes may be late
SPACES = b" " * 200000  # reading them takes a moment, so that some are being read whenever the signal comes
# Path, body, and the member of the answer that has an item for each result.
REQUESTS = [
    ("/transfer", b'{"model":"roll","vectors":[[0.1,-0.7],[1.2,0.3]]}', "data", 2),
    ("/v2/models/roll/infer",
     b'{"inputs":[{"name":"input","datatype":"FP32","shape":[2,2],"data":[0.1,-0.7,1.2,0.3]}]}' + SPACES, "outputs", 1),
    ("/transfer", b'{"model":"roll","vectors":[[0.1,-0.7],[1.2,0.3]]}', "data", 2),
    ("/v1/images/generations", b'{"model":"pictures","prompt":"","n":2}', "data", 2),
]
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
        connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body))
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

    def wait_for(self, event):
        end = time.monotonic() + 20 * PATIENCE
        while f'"event":"{event}"' not in self.log_path.read_text():
            assert time.monotonic() < end, f"the log has no {event}"
            time.sleep(0.01)

    def refused_on_their_way(self):
        """Requests that were taken and, made once more inside, met a server that was on its way down."""
        entries = [json.loads(line) for line in self.log_path.read_text().splitlines()]
        return [entry for entry in entries if entry["event"] == "replayed" and entry["status"] == 503]


class Load:
    """Requests without end, and what became of each."""

    def __init__(self, port):
        self.port = port
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.counts = {}
        self.broken = []  # (when it had been sent, what happened)
        self.threads = [threading.Thread(target=self.run, args=(number % 2 == 0, *REQUESTS[number // 2 % len(REQUESTS)]))
                        for number in range(CLIENTS)]

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def run(self, keeps, path, body, member, items):
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
                head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % (path.encode(), len(body)) + body)
                sent = time.time()
                closes = self.read(connection, member, items)
            except (OSError, ValueError, http.client.HTTPException) as error:
                with self.lock:
                    self.broken.append((sent or time.time(), repr(error)))
                closes = True
            if closes or not keeps:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def read(self, connection, member, items):
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        data = answer.read()  # IncompleteRead when it is cut
        if len(data) != int(answer.headers["Content-Length"]):
            raise ValueError("truncated")
        document = json.loads(data)
        if answer.status == 200:
            good = len(document[member]) == items
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


def squares(colour):
    """Eight pictures of 4 x 4 pixels as an NPY array."""
    shape = (8, 4, 4, 3)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    pixels = bytes((colour + 3 * i) % 256 for i in range(8 * 4 * 4 * 3))
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + pixels


def prepare(daemon):
    daemon.json("PUT", "/v1/datasets/noise", {"toy": "gaussian", "dimension": 2, "count": 200})
    daemon.json("PUT", "/v1/datasets/roll", {"toy": "swiss_roll", "count": 200})
    daemon.json("PUT", "/v1/models/roll", {"arch": "exact", "source": "noise", "target": "roll", "L": 6, "map": "stochastic"})
    for name in ("dark", "light"):
        status, data = daemon.call("PUT", f"/v1/datasets/{name}", squares(20 if name == "dark" else 220))
        assert status == 201, (status, data)
    daemon.json("PUT", "/v1/models/pictures", {"arch": "exact", "source": "dark", "target": "light", "L": 6})
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
    daemon = Daemon(program, folder, "--drain-delay", str(DELAY), "--shutdown-timeout", str(SHUTDOWN), "--queue", "48",
                    "--helpers", "1")
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
    daemon.wait_for("draining")
    time.sleep(0.02)
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
    refused = daemon.refused_on_their_way()
    assert not refused, f"{len(refused)} requests were taken and then refused: {refused[:3]}"
    assert took >= DELAY and took < DELAY + SHUTDOWN + 5 * PATIENCE
    assert load.counts.get(200, 0) + load.counts.get(429, 0) > at_signal, "nothing was taken after the signal"
    return job[0], step


def end_at_once(program, folder):
    daemon = Daemon(program, folder, "--drain-delay", "60")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_for("draining")
    time.sleep(0.1)
    assert daemon.process.poll() is None
    check_probes(daemon)
    before = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    status = daemon.wait(5)
    assert status == 1, status
    print(f"a second signal ended it in {time.monotonic() - before:.3f} s")


def end_whatever_is_under_way(program, folder):
    """An upload whose samples take half a minute to draw is not waited for: nobody was told that it is there."""
    daemon = Daemon(program, folder, "--shutdown-timeout", "0.5")

    def put():
        try:
            daemon.call("PUT", "/v1/datasets/endless", {"toy": "gaussian", "dimension": 1000, "count": 400000})
        except (OSError, http.client.HTTPException):
            pass

    thread = threading.Thread(target=put)
    thread.start()
    end = time.monotonic() + 20 * PATIENCE
    while b"efm_aside_requests 1" not in daemon.call("GET", "/metrics")[1]:
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.5)
    before = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    status = daemon.wait(15)
    took = time.monotonic() - before
    thread.join()
    print(f"what would not end was left after {took:.1f} s")
    assert status == 0, status
    assert took < 0.5 + GRACE + 3 * PATIENCE, took


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
        end_whatever_is_under_way(sys.argv[1], folder)


main()
