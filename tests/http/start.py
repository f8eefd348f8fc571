#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The start with models that take long: usage start.py EFMD. The port is open at once, all names are known, /readyz says 503 until
the models are in memory; who asks for a model gets it; SIGTERM ends it between two models; systemd is told of all this."""

import array
import atexit
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

PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))
MODELS, SAMPLES, SIDE = 6, 600, 32  # each of them some 15 MB
READY = ("/readyz", "/health", "/v2/health/ready")


class Daemon:
    def __init__(self, efmd, folder, *options):
        self.folder = pathlib.Path(folder)
        self.port_file = self.folder / "port"
        self.log_path = self.folder / f"log-{time.monotonic_ns()}"
        assert not self.port_file.exists()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = self.folder / f"notify-{time.monotonic_ns()}"
        self.manager.bind(str(address))
        self.messages = []  # (when, what), read as they come: a full queue loses some
        threading.Thread(target=self.listen, daemon=True).start()
        environment = dict(os.environ, NOTIFY_SOCKET=str(address), WATCHDOG_USEC="200000")
        environment.pop("WATCHDOG_PID", None)
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(
            [efmd, "--listen", "127.0.0.1:0", "--port-file", self.port_file, "--state-dir", self.folder / "state",
             "--max-body", "1G", *options], stderr=self.log, env=environment)
        atexit.register(self.process.kill)
        self.wait(lambda: self.port_file.exists() and self.port_file.read_text(), "no port")
        self.port = int(self.port_file.read_text())

    def wait(self, condition, what, seconds=30):
        end = time.monotonic() + seconds * PATIENCE
        while not condition():
            assert time.monotonic() < end, what + "\n" + self.text()[-3000:]
            assert self.process.poll() is None, "it ended\n" + self.text()[-3000:]
            time.sleep(0.01)

    def text(self):
        return self.log_path.read_text()

    def events(self):
        return [json.loads(line) for line in self.text().splitlines()]

    def count(self, event):
        return sum(entry["event"] == event for entry in self.events())

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60 * PATIENCE)
        connection.request(method, path, body)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data

    def json(self, method, path, body=None):
        status, data = self.call(method, path, body)
        assert 200 <= status < 300, (path, status, data[:300])
        return json.loads(data)

    def is_ready(self):
        return self.call("GET", "/readyz")[0] == 200

    def listen(self):
        while True:
            message = self.manager.recv(4096).decode()
            self.messages.append((time.monotonic(), message))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30 * PATIENCE)
        self.log.close()
        assert status == 0, f"it ended with {status}: " + self.text()[-3000:]
        assert not self.port_file.exists(), "the file with the port is left"


def npy(seed):
    """SAMPLES colour images of float32."""
    values = array.array("f", (((index * 2654435761 + seed) >> 8) % 2001 / 1000 - 1 for index in range(3 * SIDE * SIDE)))
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({SAMPLES}, {SIDE}, {SIDE}, 3), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    rows = (array.array("f", (value * (1 - row / SAMPLES) for value in values)).tobytes() for row in range(SAMPLES))
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"".join(rows)


def prepare(efmd, folder):
    """A state directory with one large model, and its file."""
    daemon = Daemon(efmd, folder)
    daemon.wait(daemon.is_ready, "not ready")
    for seed, name in enumerate("pq"):
        daemon.json("PUT", f"/v1/datasets/{name}", npy(seed))
    daemon.json("PUT", "/v1/models/m0", json.dumps({"arch": "exact", "source": "p", "target": "q", "map": "chain", "L": 10}))
    status, weights = daemon.call("GET", "/v1/models/m0/weights")
    assert status == 200
    daemon.stop()
    return weights


def put_files(folder, weights):
    for number in range(1, MODELS):
        (pathlib.Path(folder) / "state" / "models" / f"m{number}.safetensors").write_bytes(weights)


def serves_while_it_starts(efmd, folder):
    daemon = Daemon(efmd, folder)
    probes = {path: daemon.call("GET", path) for path in READY}
    live = daemon.call("GET", "/livez")
    names = [model["id"] for model in daemon.json("GET", "/v1/models")["data"]]
    assert all(status == 503 for status, _ in probes.values()), probes
    assert json.loads(probes["/readyz"][1])["status"] == "loading", probes
    assert live[0] == 200 and "m0" in names, (live, names)
    # a model that waits for its turn
    daemon.json("POST", "/v1/generate?model=m0&n=1&seed=1&steps=2&format=json")
    # a change comes after the files that lay there before, of which there is one of this name
    daemon.json("PUT", "/v1/models/m5", json.dumps({"arch": "exact", "source": "p", "target": "q", "map": "chain", "L": 7}))
    changed = daemon.json("GET", "/v1/models/m5")["sha256"]
    daemon.wait(daemon.is_ready, "not ready", 60)
    assert daemon.json("GET", "/v1/models/m5")["sha256"] == changed, "an older file came after what a client had put"
    assert daemon.count("adopted") == MODELS - 1
    assert len(daemon.json("GET", "/v1/models")["data"]) == MODELS
    daemon.wait(lambda: daemon.count("ready") == 1, "the log does not say so")
    events = [entry["event"] for entry in daemon.events()]
    assert events[0] == "starting" and events.index("listening") < events.index("ready"), events
    check_messages(daemon)
    daemon.stop()


def check_messages(daemon):
    """Of the start, in their order, and of the watchdog: every 0.1 s."""
    others = [message for _, message in daemon.messages if message != "WATCHDOG=1"]
    assert others[0].startswith("EXTEND_TIMEOUT_USEC="), others
    assert others[-1] == "READY=1\nSTATUS=serving", others
    begun = time.monotonic()
    daemon.wait(lambda: sum(when > begun and message == "WATCHDOG=1" for when, message in daemon.messages) >= 5, "no watchdog")
    assert time.monotonic() - begun > 0.35, "the watchdog is told too often"


def ends_between_two_models(efmd, folder, weights):
    put_files(folder, weights)
    daemon = Daemon(efmd, folder)
    daemon.wait(lambda: daemon.count("adopted") >= 1, "no file is moved in")
    daemon.stop()
    assert daemon.count("ready") == 0 and daemon.count("adopted") < MODELS - 1, daemon.text()
    left = list((pathlib.Path(folder) / "state" / "models").iterdir())
    assert len(left) == MODELS - 1 - daemon.count("adopted"), left


def a_file_that_was_left_misleads_nobody(efmd, folder):
    """The port is taken: what a killed daemon left names a port that is not this one's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port_file = pathlib.Path(folder) / "stale"
        port_file.write_text("1\n")
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        verdict = subprocess.run([efmd, "--listen", address, "--port-file", port_file], capture_output=True, text=True, timeout=60)
        assert verdict.returncode == 1 and "efmd: " in verdict.stderr, verdict
        assert not port_file.exists(), "a file that names another port is left"
        port_file.write_text(f"{taken.getsockname()[1]}\n")
        subprocess.run([efmd, "--listen", address, "--port-file", port_file], capture_output=True, timeout=60)
        assert port_file.exists(), "the file of the daemon that has the port is gone"


def main():
    with tempfile.TemporaryDirectory(prefix="efmd-start-", ignore_cleanup_errors=True) as folder:
        a_file_that_was_left_misleads_nobody(sys.argv[1], folder)
        weights = prepare(sys.argv[1], folder)
        ends_between_two_models(sys.argv[1], folder, weights)
        put_files(folder, weights)
        serves_while_it_starts(sys.argv[1], folder)
    print("good")


main()
