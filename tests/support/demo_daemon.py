# SPDX-License-Identifier: Apache-2.0
"""A daemon with the demo model, on a state of its own that goes with it: for chaos and benches."""

import http.client
import os
import pathlib
import re
import subprocess
import tempfile
import time

DEMO = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "demo"
PICTURE = DEMO / "unseen" / "3-05131.png"


class DemoDaemon:
    def __init__(self, program, *options):
        self.folder = tempfile.TemporaryDirectory(prefix="efmd-demo-")
        port_file = pathlib.Path(self.folder.name, "port")
        self.log = pathlib.Path(self.folder.name, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [program, "--listen", "127.0.0.1:0", "--port-file", port_file, "--log-level", "warning", *options], stderr=log)
        end = time.monotonic() + 60
        while not port_file.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the daemon did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)
        self.port = int(port_file.read_text())
        status, body = self.call("PUT", "/v1/models/demo", (DEMO / "threes-to-twos.safetensors").read_bytes())
        assert status == 201, body[:300]

    def call(self, method, path, body=None, timeout=600):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.request(method, path, body)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data

    def metric(self, name):
        """The sum over its labels; 0 when it is not there."""
        found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", self.call("GET", "/metrics")[1].decode(), re.M)
        return sum(map(float, found))

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self):
        """MiB that are resident."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Its exit status after SIGTERM; None when it had to be killed."""
        self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
