#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes each operation of the daemon fail in turn while all that a client does with jobs is done, and holds it to its word.

    tests/chaos/faults.py EFMD SHIM [--memory] [--all] [--seconds 45] [--seed N] [--fault NAME] [--way NAME]
                          [--from N] [--to N] [--every K]

One round: a daemon on a copy of a prepared state directory, one fault at the N-th operation (see faults_shim.c), the way
gone, the fault lifted; then every job must end, and all that was acknowledged be there: in the daemon that met the fault, and
in one that starts after it, which alternates between SIGTERM and SIGKILL.

The ways: "jobs" (job_path.py), "start" (of a daemon that was killed with a training under way), "stop" (SIGTERM with a
training under way). The faults: full, io, short; full+, io+, sync+ fail from the N-th operation on until they are lifted. With
--memory instead: memory, memory+, the program's own allocations.

Without --all: as many rounds as --seconds allow, drawn by the seed from all that --all makes."""

import argparse
import mmap
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from daemon import Daemon, Gone
from job_path import ENDED, ENDLESS, JOB_SECONDS, PATIENCE, Path, Receiver, Template, Wrong, expect

FAULTS = {"full": (1, 0), "full+": (1, 1), "io": (2, 0), "io+": (2, 1), "short": (3, 0), "sync+": (4, 1)}
MEMORY = {"memory": (5, 0), "memory+": (5, 1)}
NOWHERE = 1 << 60
SLOW = 30  # seconds of a round that are worth a word
FEWEST = 5  # rounds, however slow the machine is
PLAN, WORDS, FRAMES = 6 * 8, 80, 12


class Plan:
    """The file that tells the shim what to do, and that tells what it did."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(4096)
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 4096)

    def arm(self, fault, number):
        kind, stays = {**FAULTS, **MEMORY}[fault]
        self.map[0:4096] = bytes(4096)
        self.map[8:PLAN] = struct.pack("<5q", kind, number, stays, 0, 0)
        self.map[0:8] = struct.pack("<q", 1)

    def lift(self):
        self.map[0:8] = struct.pack("<q", 0)

    def seen(self):
        return struct.unpack_from("<q", self.map, 32)[0]

    def struck(self):
        return struct.unpack_from("<q", self.map, 40)[0]

    def what(self, program):
        """Where the first fault was; of an allocation with the functions that asked for it."""
        text = self.map[PLAN:PLAN + WORDS].split(b"\0")[0].decode(errors="replace").strip()
        frames = [frame for frame in struct.unpack_from(f"<{FRAMES}Q", self.map, PLAN + WORDS) if frame != 0]
        if not frames:
            return text
        run = subprocess.run(["addr2line", "-sfe", program, *(hex(frame - 1) for frame in frames)], capture_output=True, text=True)
        return f"{text} by {' < '.join(run.stdout.split(chr(10))[0:16:2])}"


class World:
    def __init__(self, program, shim, folder):
        self.program, self.shim, self.folder = program, shim, pathlib.Path(folder)
        self.receiver = Receiver()
        self.plan = Plan(self.folder / "plan")
        self.daemon = Daemon(program, folder, [
            "--checkpoint-seconds", "0.05", "--train-threads", "1", "--threads", "1", "--replica", "one",
            "--webhook-allow", self.receiver.url, "--allow-private", "127.0.0.0/8"])
        self.environment = dict(os.environ, LD_PRELOAD=str(shim), FAULTS_PLAN=str(self.plan.path),
                                FAULTS_BELOW=str(self.daemon.state), MALLOC_PERTURB_="90")
        self.template = Template(self.daemon, self.receiver)
        self.cut_short, self.unfinished = self.make_cut_short()
        self.longest = 0

    def make_cut_short(self):
        """A state directory whose daemon was killed in the midst of a training, with a model file to be taken in."""
        folder = self.folder / "cut-short"
        self.template.copy_to(self.daemon.state)
        self.daemon.start()
        path = Path(self.template, self.daemon, self.receiver)
        path.ask("endless", "POST", "/train", dict(ENDLESS, model="endless"))
        end = time.monotonic() + 60
        while (path.wait(path.job("endless"), ("running",), 10) or {}).get("checkpoint") is None:
            expect(time.monotonic() < end, "no checkpoint")
        self.daemon.kill()
        (self.daemon.state / "models" / "put.safetensors").write_bytes(self.template.older)
        shutil.copytree(self.daemon.state, folder)
        return folder, path.job("endless")

    def copy_cut_short(self):
        shutil.rmtree(self.daemon.state, ignore_errors=True)
        shutil.copytree(self.cut_short, self.daemon.state)

    def end(self, softly):
        """SIGTERM or SIGKILL, of a daemon that must be alive."""
        expect(self.daemon.process.poll() is None, "the daemon ended", self.daemon.process.returncode)
        if softly:
            status = self.daemon.stop()
            expect(status == 0, "exit status after SIGTERM", status)
        else:
            self.daemon.kill()

    # ---- the ways ----

    def jobs(self, fault, number):
        self.template.copy_to(self.daemon.state)
        self.daemon.start(self.environment)
        path = Path(self.template, self.daemon, self.receiver, fault in MEMORY)
        self.plan.arm(fault, number)
        path.act(fault.endswith("+") and number < NOWHERE)
        self.plan.lift()
        path.again()
        path.settle()
        self.end(number % 2 == 0)
        self.daemon.start()
        path.settle()
        path.check_told()
        self.end(True)
        self.check_leftovers()

    def start(self, fault, number):
        self.copy_cut_short()
        self.daemon.log.unlink(missing_ok=True)
        self.plan.arm(fault, number)
        self.daemon.begin(self.environment)
        end = time.monotonic() + 60 * PATIENCE
        while not self.daemon.port_file.exists() and self.daemon.process.poll() is None:
            expect(time.monotonic() < end, "the daemon neither starts nor ends")
            time.sleep(0.005)
        if self.daemon.process.poll() is None:
            self.daemon.wait_for_port()
            time.sleep(0.2)
            self.plan.lift()
            self.daemon.wait_until_ready()
            self.check_unfinished()
            self.end(number % 2 == 0)
        else:
            text = self.daemon.log.read_text()
            expect(self.daemon.process.returncode == 1 and "efmd: " in text, self.daemon.process.returncode, text)
        self.plan.lift()
        self.after_cut_short()

    def stop(self, fault, number):
        self.copy_cut_short()
        self.daemon.start(self.environment)
        self.check_unfinished()
        self.plan.arm(fault, number)
        self.end(True)
        self.plan.lift()
        self.after_cut_short()

    def after_cut_short(self):
        self.daemon.start()
        path = self.check_unfinished()
        expect(path.ask("cancel", "POST", f"/v1/jobs/{self.unfinished}/cancel") is not None)
        answer = path.wait_for_end(self.unfinished)
        expect(answer["status"] == "cancelled" or path.failed_well(answer), answer)
        self.end(True)
        self.check_leftovers()

    def check_unfinished(self):
        path = Path(self.template, self.daemon, self.receiver)
        answer = path.wait(self.unfinished, ("running", *ENDED), JOB_SECONDS)
        expect(answer["status"] == "running" or path.failed_well(answer), "the training does not go on", answer)
        expect(answer["step"] >= answer["checkpoint"]["step"] > 0, answer)
        for name in ("kept", "doomed"):
            path.check_model(name, None)
            expect(self.daemon.call("GET", f"/v1/datasets/{name}")[0] == 200, name)
        return path

    def check_leftovers(self):
        """Of what failed nothing lies about once a daemon has started after it."""
        blobs = self.daemon.state / "blobs"
        left = os.listdir(blobs / ".temporary")
        expect(not left, "temporary files are left", left)
        for kind, most in (("models", 1), ("datasets", 2)):  # a dataset has a preview
            for folder in (blobs / kind).iterdir():
                expect(len(os.listdir(folder)) <= most, "blobs without a record", folder, os.listdir(folder))

    # ---- rounds ----

    def round(self, way, fault, number):
        """Whether the fault was met. Complains by Wrong."""
        begun = time.monotonic()
        try:
            getattr(self, way)(fault, number)
        except Gone as error:
            raise Wrong("no answer", str(error), "exit status", self.daemon.process.poll()) from error
        finally:
            self.plan.lift()
            if self.daemon.process.poll() is None:
                self.daemon.process.send_signal(signal.SIGKILL)
                self.daemon.process.wait()
        seconds = time.monotonic() - begun
        self.longest = max(self.longest, seconds)
        if seconds > SLOW and number < NOWHERE:
            print(f"{way} {fault} {number} took {seconds:.1f} s: {self.plan.what(self.program)}", flush=True)
        return self.plan.struck() > 0

    def try_round(self, way, fault, number, failures):
        try:
            return self.round(way, fault, number)
        except (Wrong, SystemExit, OSError, KeyError, ValueError, TypeError) as error:
            where = self.plan.what(self.program)
            failures.append((way, fault, number))
            print(f"FAILED {way} {fault} {number}: {where}\n  {error!r}"[:1500], flush=True)
            keep = os.environ.get("FAULTS_KEEP")
            if keep:
                shutil.copy(self.daemon.log, pathlib.Path(keep) / f"{way}-{fault}-{number}.log")
            return self.plan.struck() > 0


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("shim")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--fault", choices=[*FAULTS, *MEMORY])
    parser.add_argument("--way", choices=["jobs", "start", "stop"])
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--to", dest="last", type=int, default=NOWHERE)
    parser.add_argument("--every", type=int, default=1)
    return parser.parse_args()


def every_round(world, ways, faults, options, failures):
    for way in ways:
        for fault in faults:
            number, rounds = options.first, 0
            while number <= options.last and world.try_round(way, fault, number, failures):
                rounds += 1
                number += options.every
            print(f"{way} {fault}: {rounds} rounds, to {number - options.every}", flush=True)


def some_rounds(world, ways, faults, options, failures):
    draw = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    totals = {}
    for way in ways:
        for fault in faults:
            if FAULTS.get(fault, MEMORY.get(fault))[1] == 0 or fault == "sync+":
                world.round(way, fault, NOWHERE)
                totals[way, fault] = world.plan.seen()
                if fault + "+" in {**FAULTS, **MEMORY}:
                    totals[way, fault + "+"] = world.plan.seen()
    totals = {key: total for key, total in totals.items() if key[1] in faults}
    print("operations:", ", ".join(f"{way} {fault} {total}" for (way, fault), total in totals.items()), flush=True)
    rounds = [(way, fault, number) for (way, fault), total in totals.items() for number in range(1, total + 1)]
    draw.shuffle(rounds)
    end, made, met = time.monotonic() + options.seconds, 0, 0
    for way, fault, number in rounds:
        if time.monotonic() + world.longest > end and made >= FEWEST:
            break
        met += world.try_round(way, fault, number, failures)
        made += 1
    print(f"{made} rounds of {len(rounds)}, {met} met their fault")


def main():
    options = parse()
    faults = [options.fault] if options.fault else list(MEMORY if options.memory else FAULTS)
    ways = [options.way] if options.way else ["jobs", "start", "stop"]
    failures = []
    with tempfile.TemporaryDirectory(prefix="efmd-chaos-") as folder:
        world = World(options.program, options.shim, folder)
        (every_round if options.all else some_rounds)(world, ways, faults, options, failures)
        print(f"the longest round took {world.longest:.1f} s")
    for failure in failures:
        print("failed:", *failure)
    sys.exit(1 if failures else 0)


main()
