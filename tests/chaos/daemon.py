# SPDX-License-Identifier: Apache-2.0
"""A daemon on a state directory that the tests here start, ask, stop and kill."""

import atexit
import http.client
import json
import pathlib
import subprocess
import time


class Gone(Exception):
    """The daemon ended while the request was under way: what it did is not known."""


class Daemon:
    """Lives of a daemon in `folder`: its state, its log and the file with its port."""

    def __init__(self, program, folder, options=(), name="daemon"):
        self.program, self.folder, self.options = program, pathlib.Path(folder), list(options)
        self.state, self.log = self.folder / "state", self.folder / f"{name}.log"
        self.port_file = self.folder / f"{name}.port"
        self.process = self.port = None
        atexit.register(self.clear_away)

    def clear_away(self):
        """Whatever became of the test, no daemon outlives it."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def begin(self, environment=None):
        """Starts it and waits for nothing."""
        self.port_file.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "--listen", "127.0.0.1:0", "--port-file", self.port_file, "--state-dir", self.state,
                 *self.options], stderr=log, env=environment)

    def wait_for_port(self, seconds=60):
        end = time.monotonic() + seconds
        while not self.port_file.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the daemon did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)
        self.port = int(self.port_file.read_text())

    def wait_until_ready(self, seconds=60):
        end = time.monotonic() + seconds
        while self.call("GET", "/readyz")[0] != 200:
            if time.monotonic() > end:
                raise SystemExit(f"the daemon is not ready:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)

    def start(self, environment=None):
        self.begin(environment)
        self.wait_for_port()
        self.wait_until_ready()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=60):
        """Its exit status after SIGTERM; None when it had to be killed."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def call(self, method, path, body=None, headers=None, timeout=30):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise Gone(f"{method} {path}: {error!r}") from error
        return answer.status, data, answer.headers

    def json(self, method, path, body=None, headers=None):
        status, data, _ = self.call(method, path, None if body is None else json.dumps(body), headers)
        return status, json.loads(data) if data else None
