#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Kills the daemon with -9 at random moments while jobs are posted, run, cancelled and deleted, and holds it to what it had acknowledged.

    tests/chaos/kill_daemon.py EFMD [KILLS [SEED]]

After every restart: each acknowledged job is there (or was deleted), no acknowledged deletion is undone, each dataset and model has the bytes
that it was put with or that a training made. In the end every job ends, none of them badly, and a training that was interrupted has made
the same bytes as one that was not."""

import hashlib
import json
import random
import shutil
import sys
import tempfile
import threading
import time

from daemon import Daemon, Gone

SPECS = [{"source": "gaussian", "target": "spiral", "seed": seed, "steps": steps, "batch": 64, "charges": 256,
          "network": {"hidden": 32, "hidden2": 32}} for seed, steps in ((1, 300), (2, 600), (3, 1200))]
SPIRAL = b'{"toy": "swiss_roll", "count": 2000, "seed": 5}'
OPTIONS = ["--checkpoint-seconds", "0.15", "--train-threads", "1", "--max-waiting-jobs", "400", "--max-jobs", "1000000",
           "--replica", "chaos"]
ENDED = ("succeeded", "failed", "cancelled")


class Ledger:
    """What was acknowledged."""

    def __init__(self):
        self.lock = threading.Lock()
        self.jobs = {}  # id: index of the spec, or "transfer"
        self.deleted = set()
        self.maybe_deleted = set()
        self.cancelled = set()
        self.uploads = set()  # digests that the model "swapped" may have
        self.datasets = {}
        self.counts = {}

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1


def client(daemon, ledger, draw, models, stop):
    while not stop.is_set():
        try:
            act(daemon, ledger, draw, models)
            time.sleep(0.02)
        except Gone:
            time.sleep(0.02)


def act(daemon, ledger, draw, models):
    what = draw.choices(["train", "transfer", "cancel", "delete", "dataset", "swap", "use"], [2, 4, 2, 3, 2, 2, 4])[0]
    with ledger.lock:
        ids = [job for job in ledger.jobs if job not in ledger.maybe_deleted]
    if what == "train":
        with ledger.lock:
            if sum(kind != "transfer" for kind in ledger.jobs.values()) > 40:
                return
        index = draw.randrange(len(SPECS))
        status, job = daemon.json("POST", "/train", dict(SPECS[index], model=f"t{index}-{draw.randrange(10**9)}"))
        assert status in (202, 429, 503), (status, job)
        if status == 202:
            with ledger.lock:
                ledger.jobs[job["id"]] = index
    elif what == "transfer":
        status, data, _ = daemon.call("POST", "/v1/generate?model=exact&n=2&steps=5&seed=3", None, {"Prefer": "respond-async"})
        assert status in (202, 429, 503), (status, data)
        if status == 202:
            with ledger.lock:
                ledger.jobs[json.loads(data)["id"]] = "transfer"
    elif what == "cancel" and ids:
        job = draw.choice(ids[-10:])
        status, answer = daemon.json("POST", f"/v1/jobs/{job}/cancel")
        assert status in (200, 202, 410, 503), (status, answer)
        if status in (200, 202):
            with ledger.lock:
                ledger.cancelled.add(job)
    elif what == "delete" and ids:
        job = draw.choice(ids)
        with ledger.lock:
            ledger.maybe_deleted.add(job)
        status, data, _ = daemon.call("DELETE", f"/v1/jobs/{job}")
        assert status in (204, 409, 410, 503), (status, data)
        with ledger.lock:
            if status == 204:
                ledger.deleted.add(job)
            elif status == 409:
                pass  # another client may be deleting it at this moment: what came of that is not known
    elif what == "dataset":
        name, body = f"d{draw.randrange(6)}", b'{"toy": "gaussian", "count": 50, "dimension": 3, "seed": %d}' % draw.randrange(10**6)
        status, data, _ = daemon.call("PUT", f"/v1/datasets/{name}", body)
        assert status in (200, 201, 429, 503), (status, data)
        with ledger.lock:
            ledger.datasets.setdefault(name, set()).add(hashlib.sha256(body).hexdigest())
    elif what == "swap":
        model = draw.choice(models)
        status, data, _ = daemon.call("PUT", "/v1/models/swapped", model)
        assert status in (200, 201, 429, 503), (status, data)
    elif what == "use":
        status, data, _ = daemon.call("POST", "/v1/generate?model=swapped&n=1&steps=3&seed=4", None, {"Accept": "application/json"})
        assert status in (200, 404, 429, 503), (status, data)
    with ledger.lock:
        ledger.count(what)


def check(daemon, ledger, digests):
    with ledger.lock:
        jobs, deleted = dict(ledger.jobs), set(ledger.deleted)
    for job in jobs:
        status, answer = daemon.json("GET", f"/v1/jobs/{job}")
        with ledger.lock:  # clients go on meanwhile
            maybe = set(ledger.maybe_deleted)
        if job in deleted:
            assert status in (404, 410), f"{job} was deleted and is there: {status}"
        elif job in maybe:
            assert status in (200, 404, 410), (job, status)
        else:
            assert status == 200, f"{job} was acknowledged and is gone: {status} {answer}"
            assert answer["status"] != "failed", answer
    status, data, headers = daemon.call("GET", "/v1/models/swapped/weights")
    if status != 404:
        digest = hashlib.sha256(data).hexdigest()
        assert status == 200 and digest in digests and headers["ETag"] == f'"{digest}"', (status, digest)
    for name, known in ledger.datasets.items():
        status, answer = daemon.json("GET", f"/v1/datasets/{name}")
        assert status in (200, 404), (status, answer)


def wait_for_end(daemon, job, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status, answer = daemon.json("GET", f"/v1/jobs/{job}?wait=2")
        if status in (404, 410):
            return None
        assert status == 200, (status, answer)
        if answer["status"] in ENDED:
            return answer
    raise SystemExit(f"{job} does not end: {answer}")


def prepare(daemon):
    assert daemon.call("PUT", "/v1/datasets/spiral", SPIRAL)[0] in (200, 201)
    assert daemon.call("PUT", "/v1/datasets/noise", b'{"toy": "gaussian", "count": 2000, "dimension": 2}')[0] in (200, 201)
    for name, length in (("exact", 4), ("other", 6)):
        status, answer = daemon.json("PUT", f"/v1/models/{name}", {"arch": "exact", "source": "noise", "target": "spiral", "L": length,
                                                                  "max_charges": 200})
        assert status in (200, 201), answer


def undisturbed(program):
    """The digest that each spec ends in when nothing happens."""
    folder = tempfile.mkdtemp(prefix="efmd-chaos-")
    daemon = Daemon(program, folder, OPTIONS)
    daemon.start()
    prepare(daemon)
    models = [daemon.call("GET", f"/v1/models/{name}/weights")[1] for name in ("exact", "other")]
    digests = []
    for index, spec in enumerate(SPECS):
        status, job = daemon.json("POST", "/train", dict(spec, model=f"plain{index}"))
        assert status == 202, job
        answer = wait_for_end(daemon, job["id"], 120)
        assert answer["status"] == "succeeded", answer
        digests.append(hashlib.sha256(daemon.call("GET", f"/v1/models/plain{index}/weights")[1]).hexdigest())
    daemon.kill()
    shutil.rmtree(folder)
    return digests, models


def main():
    program, kills = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 50
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(10**6)
    print(f"seed {seed}", flush=True)
    draw = random.Random(seed)
    digests, models = undisturbed(program)
    folder = tempfile.mkdtemp(prefix="efmd-chaos-")
    daemon, ledger, stop = Daemon(program, folder, OPTIONS), Ledger(), threading.Event()
    known = {hashlib.sha256(model).hexdigest() for model in models}
    daemon.start()
    prepare(daemon)
    failures = []

    def run(number):
        try:
            client(daemon, ledger, random.Random(seed * 100 + number), models, stop)
        except BaseException as error:  # noqa: B902 - a thread's failure is the test's
            failures.append(repr(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(kills):
        time.sleep(draw.uniform(0.05, 0.9))
        daemon.kill()
        daemon.start()
        check(daemon, ledger, known)
        if failures:
            break
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    ends = {}
    for job, kind in ledger.jobs.items():
        answer = wait_for_end(daemon, job, 300)
        if answer is None:
            assert job in ledger.maybe_deleted, f"{job} is gone"
            continue
        ends[answer["status"]] = ends.get(answer["status"], 0) + 1
        assert answer["status"] != "failed", answer
        if answer["status"] == "succeeded" and kind != "transfer":
            status, data, _ = daemon.call("GET", f"/v1/models/{answer['model']}/weights")
            assert status == 200 and hashlib.sha256(data).hexdigest() == digests[kind], f"{job} made other bytes"
            ends["same bytes"] = ends.get("same bytes", 0) + 1
        if answer["status"] == "succeeded" and kind == "transfer":
            assert daemon.call("GET", f"/v1/jobs/{job}/result")[0] == 200
    assert ends.get("same bytes", 0) >= 3, ends
    daemon.kill()
    print(f"{kills} kills; acted: {ledger.counts}; jobs ended: {ends}; {len(ledger.deleted)} deleted")
    shutil.rmtree(folder)


main()
