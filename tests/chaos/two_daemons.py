#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two daemons on one state directory: the second one refuses to start, and the first one does not notice.

    tests/chaos/two_daemons.py EFMD

The second one exits with 1 within seconds and says why, whether the first one is idle or at work on a job. What the first
one holds is unharmed. When it has ended, by SIGTERM or SIGKILL, the second one starts and has all of it."""

import os
import subprocess
import sys
import tempfile
import time

from daemon import Daemon

PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))
SECONDS = 10 * PATIENCE
SPEC = {"source": "gaussian", "target": "roll", "batch": 8, "network": {"hidden": 8, "hidden2": 8}}


def expect_refusal(daemon):
    begun = time.monotonic()
    daemon.log.unlink(missing_ok=True)
    daemon.begin()
    try:
        status = daemon.process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        raise SystemExit("the second daemon runs beside the first one") from None
    text = daemon.log.read_text()
    assert status == 1, (status, text)
    assert f"the state directory {daemon.state} is in use by another daemon" in text, text
    assert not daemon.port_file.exists(), "it opened a port"
    return time.monotonic() - begun


def expect_all_there(daemon, digest):
    status, answer = daemon.json("GET", "/v1/datasets/roll")
    assert status == 200 and answer["sha256"] == digest, (status, answer)
    assert daemon.call("GET", "/readyz")[0] == 200


def wait_for(daemon, job, states):
    end = time.monotonic() + 60 * PATIENCE
    while time.monotonic() < end:
        status, answer = daemon.json("GET", f"/v1/jobs/{job}?wait=1")
        assert status == 200, (status, answer)
        if answer["status"] in states:
            return answer
    raise SystemExit(f"the job does not become {states}: {answer}")


def wait_for_step(daemon, job, step):
    end = time.monotonic() + 60 * PATIENCE
    while time.monotonic() < end:
        if wait_for(daemon, job, ["running"])["step"] >= step:
            return
        time.sleep(0.05)
    raise SystemExit("the job does not go on")


def main():
    with tempfile.TemporaryDirectory(prefix="efmd-chaos-") as folder:
        first, second = Daemon(sys.argv[1], folder, name="first"), Daemon(sys.argv[1], folder, name="second")
        first.start()
        status, answer = first.json("PUT", "/v1/datasets/roll", {"toy": "swiss_roll", "count": 200, "seed": 5})
        assert status == 201, (status, answer)
        digest = answer["sha256"]
        slowest = max(expect_refusal(second) for _ in range(3))
        expect_all_there(first, digest)

        status, job = first.json("POST", "/train", dict(SPEC, steps=100000000, model="long"))
        assert status == 202, (status, job)
        step = wait_for(first, job["id"], ["running"])["step"]
        slowest = max(slowest, expect_refusal(second))
        wait_for_step(first, job["id"], step + 1)
        expect_all_there(first, digest)
        assert first.stop(60 * PATIENCE) == 0, "the first one did not end"

        second.start()
        expect_all_there(second, digest)
        assert second.json("POST", f"/v1/jobs/{job['id']}/cancel")[0] in (200, 202)
        wait_for(second, job["id"], ["cancelled"])
        expect_refusal(first)
        second.kill()

        first.start()
        expect_all_there(first, digest)
        status, job = first.json("POST", "/train", dict(SPEC, steps=20, model="short"))
        assert status == 202, (status, job)
        wait_for(first, job["id"], ["succeeded"])
        assert first.stop(60 * PATIENCE) == 0
        print(f"refused 5 times, the slowest after {slowest:.2f} s")


main()
