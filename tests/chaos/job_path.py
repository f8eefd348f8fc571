# SPDX-License-Identifier: Apache-2.0
"""All that a client does with jobs, once, and what it may hold the daemon to afterwards: whatever failed meanwhile, every answer
was 2xx or a problem that says why, what was acknowledged is there, jobs end, and bytes are whole."""

import hashlib
import http.client
import http.server
import json
import os
import shutil
import struct
import threading
import time

from daemon import Gone

PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))
ENDED = ("succeeded", "failed", "cancelled")
NETWORK = {"arch": "mlp", "hidden": 8, "hidden2": 8}
SPEC = {"source": "points", "target": "toy", "steps": 40, "batch": 8, "network": NETWORK, "seed": 3}
ENDLESS = {"source": "kept", "target": "kept", "steps": 1000000000, "batch": 8, "network": NETWORK}
TOY = {"toy": "uniform", "shape": [4, 4, 1], "count": 60, "seed": 5}
GENERATE = "/v1/generate?model=kept&n=2&steps=3&seed=3&format=json"
# What a fault may be called: in answers, and as the reason of a failed job.
CODES = ("storage_failed", "insufficient_memory")
JOB_SECONDS = 120 * PATIENCE  # a lease that nobody keeps runs out after 30, and trainings have the lowest priority


def points():
    """A small NPY file."""
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (40, 4, 4, 1), }"
    head += b" " * (117 - len(head)) + b"\n"
    values = [((i * 37) % 101) / 50 - 1 for i in range(640)]
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + struct.pack("<640f", *values)


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


class Receiver(http.server.ThreadingHTTPServer):
    """Takes webhooks, and keeps the ids of the jobs that they tell of."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Hook)
        self.told = set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told.add(body["data"]["id"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Wrong(AssertionError):
    """The daemon did not keep what it had promised."""


def expect(good, *about):
    if not good:
        raise Wrong(*about)


def is_problem(status, data, headers):
    if status not in (500, 503, 507) or headers.get("Content-Type") != "application/problem+json":
        return False
    problem = json.loads(data)
    return problem["code"] in CODES and problem["status"] == status and problem["error"] != "" and problem["request_id"] != ""


class Template:
    """A state directory as it is before: two models, datasets, a job that has ended; and what an undisturbed run makes."""

    def __init__(self, daemon, receiver):
        self.folder = daemon.folder / "template"
        daemon.start()
        for name in ("kept", "doomed"):
            self.make(daemon, "PUT", f"/v1/datasets/{name}", json.dumps(TOY))
        exact = {"arch": "exact", "source": "kept", "target": "kept", "L": 4, "max_charges": 20}
        for name, length in (("kept", 4), ("doomed", 4), ("swapped", 4), ("other", 6)):
            self.make(daemon, "PUT", f"/v1/models/{name}", json.dumps(dict(exact, L=length)))
        self.older = daemon.call("GET", "/v1/models/swapped/weights")[1]
        self.newer = daemon.call("GET", "/v1/models/other/weights")[1]
        path = Path(self, daemon, receiver)
        self.old_job = json.loads(self.make(daemon, "POST", "/train", json.dumps(dict(SPEC, source="kept", target="kept", model="old"))))["id"]
        path.wait_for_end(self.old_job, 60)
        self.result = json.loads(daemon.call("POST", GENERATE)[1])["data"]
        expect(daemon.stop() == 0)
        shutil.copytree(daemon.state, self.folder)
        self.made = None
        daemon.start()
        path.act()
        path.settle()
        self.made = digest_of(daemon.call("GET", "/v1/models/made/weights")[1])
        daemon.stop()

    def make(self, daemon, *request):
        status, data, _ = daemon.call(*request)
        expect(status in (200, 201, 202), status, data)
        return data

    def copy_to(self, state):
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(self.folder, state)


class Path:
    """One run. `act` is done while something fails, the rest afterwards."""

    def __init__(self, template, daemon, receiver, without_memory=False):
        self.template, self.daemon, self.receiver = template, daemon, receiver
        self.done = {}  # name: the answer that acknowledged it
        self.failed = {}  # name: the request that was refused, to be made again
        self.without_memory = without_memory
        self.ends = {}
        self.whole = True
        self.wrong_stream = None

    # ---- requests ----

    def ask(self, name, method, path, body=None, headers=None):
        """The answer when it was a good one; None when it was a problem as they may be."""
        body = json.dumps(body) if isinstance(body, dict) else body
        self.failed[name] = (method, path, body, headers)
        try:
            status, data, answer = self.daemon.call(method, path, body, headers)
        except Gone:
            # one without memory may close a connection that it cannot even note down
            if not self.without_memory or self.daemon.process.poll() is not None:
                raise
            return None
        if 200 <= status < 300:
            self.done[name] = data
            self.failed.pop(name, None)
            return data
        expect(is_problem(status, data, answer), name, method, path, status, data)
        return None

    def look(self, path, headers=None):
        return self.ask(f"look at {path}", "GET", path, None, headers)

    def job(self, name):
        return json.loads(self.done[name])["id"] if name in self.done else None

    def wait(self, job, states, seconds):
        """Until the job is in one of the states, or the time is over: the last that was seen of it."""
        end, answer = time.monotonic() + seconds, None
        while job is not None and time.monotonic() < end:
            data = self.look(f"/v1/jobs/{job}" if "running" in states else f"/v1/jobs/{job}?wait=0.5")
            answer = json.loads(data) if data is not None else answer
            if answer is not None and answer["status"] in states:
                break
            time.sleep(0.02)
        return answer

    # ---- the path ----

    def act(self, brief=False):
        """`brief`: what fails goes on failing, so there is no sense in waiting for long."""
        seconds = (0.7 if brief else 3) * PATIENCE
        spec = dict(SPEC, model="made", webhook=self.receiver.url)
        if self.ask("points", "PUT", "/v1/datasets/points", points()) is None:
            spec["source"] = "kept"
        if self.ask("toy", "PUT", "/v1/datasets/toy", TOY) is None:
            spec["target"] = "kept"
        self.whole = spec["source"] == "points" and spec["target"] == "toy"
        self.ask("train", "POST", "/train", spec, {"Idempotency-Key": "first"})
        self.ask("endless", "POST", "/train", dict(ENDLESS, model="endless", webhook=self.receiver.url), {"Idempotency-Key": "second"})
        self.ask("generate", "POST", GENERATE, None, {"Prefer": "respond-async"})
        self.ask("swapped", "PUT", "/v1/models/swapped", self.template.newer)
        self.ask("fresh", "PUT", "/v1/models/fresh", self.template.older)
        train, endless, generate = self.job("train"), self.job("endless"), self.job("generate")
        follower = threading.Thread(target=self.follow, args=(train,), daemon=True)
        if train is not None:
            follower.start()
        self.wait(train, ENDED, seconds)
        if train is not None:
            self.look(f"/v1/jobs/{train}/events", {"Accept": "application/json"})
            self.look(f"/v1/jobs/{train}/checkpoints")
        self.wait(generate, ENDED, seconds)
        self.wait(endless, ("running", *ENDED), seconds)
        if endless is not None:
            self.ask("cancel", "POST", f"/v1/jobs/{endless}/cancel")
            self.wait(endless, ENDED, seconds)
        self.ask("old job", "DELETE", f"/v1/jobs/{self.template.old_job}")
        self.ask("doomed model", "DELETE", "/v1/models/doomed")
        self.ask("doomed dataset", "DELETE", "/v1/datasets/doomed")
        self.look("/v1/jobs")

    def follow(self, job):
        """The stream of events as far as it comes: it may end early, but never says anything that is not so."""
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=JOB_SECONDS)
        try:
            connection.request("GET", f"/v1/jobs/{job}/events", None, {"Accept": "text/event-stream"})
            answer = connection.getresponse()
            data = answer.read()
            if answer.status != 200:
                expect(is_problem(answer.status, data, answer.headers), "stream", answer.status, data)
                return
            events = [part for part in data.decode().split("\n\n") if part and not part.startswith(":")]
            ids = [int(line[3:]) for part in events for line in part.split("\n") if line.startswith("id:")]
            expect(ids == sorted(set(ids)), "stream out of order", ids)
            for part in events:
                for line in part.split("\n"):
                    expect(not line.startswith("data:") or isinstance(json.loads(line[5:]), dict), line)
        except (OSError, http.client.HTTPException):
            pass
        except (Wrong, ValueError) as error:
            self.wrong_stream = error
        finally:
            connection.close()

    # ---- afterwards ----

    def again(self):
        """What was refused is asked for once more, now that nothing fails."""
        self.without_memory = False
        self.failed = {name: request for name, request in self.failed.items() if not name.startswith("look")}
        for name, (method, path, body, headers) in list(self.failed.items()):
            status, data, _ = self.daemon.call(method, path, body, headers)
            gone = method == "DELETE" and status in (404, 410)
            expect(gone or 200 <= status < 300, "asked again", name, status, data)
            self.done[name] = data
        self.failed = {}
        endless = self.job("endless")
        if "cancel" not in self.done and endless is not None:
            self.ask("cancel", "POST", f"/v1/jobs/{endless}/cancel")

    def wait_for_end(self, job, seconds=JOB_SECONDS):
        answer = self.wait(job, ENDED, seconds)
        expect(answer is not None and answer["status"] in ENDED, "a job does not end", job, answer)
        return answer

    def settle(self):
        """Every job ends, and ends so again however often one asks."""
        for name in ("train", "endless", "generate"):
            answer = self.wait_for_end(self.job(name))
            before = self.ends.setdefault(name, answer["status"])
            expect(answer["status"] == before, name, "ended twice", before, answer)
            expect(answer["status"] != "failed" or self.failed_well(answer), name, answer)
            if name == "endless":
                expect(answer["status"] != "succeeded", answer)
            self.check_events(self.job(name), answer["status"])
        expect(self.wrong_stream is None, self.wrong_stream)
        self.check_bytes()

    def failed_well(self, answer):
        """It has ended for a reason that a fault may be."""
        return answer["status"] == "failed" and answer["error"]["code"] in CODES and answer["error"]["message"] != ""

    def check_events(self, job, state):
        data = self.look(f"/v1/jobs/{job}/events", {"Accept": "application/json"})
        events = json.loads(data)["data"]
        ids = [int(event["id"]) for event in events]
        states = [event["data"]["status"] for event in events if event["type"] == "state"]
        expect(ids == sorted(set(ids)), "events out of order", ids)
        expect(states.count(state) == 1 and states[-1] == state, "states", states, state)

    def check_model(self, name, wanted, status=200):
        got, data, headers = self.daemon.call("GET", f"/v1/models/{name}/weights")
        expect(got == status, name, got, data[:200])
        if got == 200:
            expect(headers["ETag"] == f'"{digest_of(data)}"', name, "is not what its ETag says")
            expect(wanted is None or digest_of(data) in wanted, name, "has other bytes", digest_of(data))

    def check_dataset(self, name, wanted):
        status, data, _ = self.daemon.call("GET", f"/v1/datasets/{name}")
        expect(status == 200 and json.loads(data)["sha256"] == wanted, name, status, data)
        kept = [digest_of(path.read_bytes()) for path in (self.daemon.state / "blobs" / "datasets" / name).iterdir()]
        expect(wanted in kept, name, "has other bytes", kept)
        status, data, _ = self.daemon.call("GET", f"/v1/datasets/{name}/preview.png")
        expect(status == 200, name, status, data[:200])

    def check_bytes(self):
        older, newer = digest_of(self.template.older), digest_of(self.template.newer)
        self.check_dataset("points", digest_of(points()))
        for name in ("toy", "kept"):
            self.check_dataset(name, digest_of(json.dumps(TOY).encode()))
        self.check_model("swapped", (newer,))
        self.check_model("fresh", (older,))
        self.check_model("kept", (older,))
        if self.ends["train"] == "succeeded":
            self.check_model("made", (self.template.made,) if self.whole and self.template.made else None)
        if self.ends["generate"] == "succeeded":
            status, data, _ = self.daemon.call("GET", f"/v1/jobs/{self.job('generate')}/result")
            expect(status == 200 and json.loads(data)["data"] == self.template.result, "another result", status, data[:200])
        for path in ("models/doomed", "datasets/doomed", f"jobs/{self.template.old_job}"):
            expect(self.daemon.call("GET", f"/v1/{path}")[0] in (404, 410), path, "is back")
        for path in ("/readyz", "/v1/jobs", "/v1/models", "/v1/datasets"):
            expect(self.daemon.call("GET", path)[0] == 200, path)

    def check_told(self):
        """Each webhook came at least once, or comes now."""
        end = time.monotonic() + 20 * PATIENCE  # a second attempt comes after 5
        wanted = {self.job("train"), self.job("endless")}
        while not wanted <= self.receiver.told:
            expect(time.monotonic() < end, "a webhook did not come", wanted - self.receiver.told)
            time.sleep(0.02)
