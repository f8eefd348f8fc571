#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A training that is killed again and again ends in the same bytes as one that nobody disturbed.

    kill_training.py EFMD

A small U-Net between matched pairs, with dropout, learns once in peace. Then trainings of the same spec are killed with
SIGKILL and gone on with, by one thread or two, until KILLS kills have met a living one: every second at any moment after
its start, the others after a checkpoint of its own, which with a checkpoint a step is often in the midst of the next.
Whatever a kill leaves, the model is there as a whole or not at all. CHAOS_SEED [20] fixes the delays.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time

KILLS = 20
PATIENCE = 30 * float(os.environ.get("TEST_PATIENCE", "1"))  # seconds of anything that must end
SPEC = {
    "source": "gaussian",
    "target": {"toy": "uniform", "shape": [8, 8, 3], "count": 200},
    "network": {"arch": "unet", "nf": 32, "ch_mult": [1], "blocks": 1, "attention": [], "dropout": 0.1},
    "pairing": "matched", "batch": 4, "charges": 12, "steps": 150, "warmup": 10, "seed": 7,
}


def fail(text):
    sys.exit(f"kill_training.py: {text}")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def inode(path):
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


class Training:
    """Lives of a training of one name."""

    def __init__(self, efmd, folder, name):
        self.command = [efmd, "train", os.path.join(folder, "spec.json"), "--quiet"]
        self.log = os.path.join(folder, f"{name}.err")
        self.model = os.path.join(folder, f"{name}.safetensors")
        self.checkpoint = os.path.join(folder, f"{name}.checkpoint.safetensors")
        self.temporary = os.path.join(folder, f".{name}.checkpoint.safetensors.tmp")

    def start(self, *options):
        with open(self.log, "wb") as log:
            return subprocess.Popen([*self.command, "--out", self.model, *options], stderr=log)

    def expect_end(self, process):
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            fail("a training did not end")
        if status != 0:
            fail(f"status {status}: {read(self.log).decode(errors='replace')}")

    def expect_model(self, wanted):
        if read(self.model) != wanted:
            fail("the model is not that of the undisturbed training")

    def live(self, chance, wait_for_checkpoint, longest):
        """One life, and whether it was killed."""
        options = ["--resume", "--checkpoint-seconds", chance.choice(["0", "0.02"]), "--threads", chance.choice("12")]
        delay = chance.uniform(0, 0.1 if wait_for_checkpoint else longest)
        before = inode(self.checkpoint)
        process = self.start(*options)
        give_up = time.monotonic() + PATIENCE
        while wait_for_checkpoint and inode(self.checkpoint) in (before, None) and process.poll() is None:
            if time.monotonic() > give_up:
                process.kill()
                fail("no checkpoint was written")
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        status = process.wait()
        if status not in (0, -9):
            fail(f"status {status}: {read(self.log).decode(errors='replace')}")
        return status == -9


def disturb(training, wanted, longest, seed):
    chance = random.Random(seed)
    kills = resumed = ends = 0
    while kills < KILLS:
        resumed += os.path.exists(training.checkpoint)
        killed = training.live(chance, kills % 2 == 1, longest)
        kills += killed
        if os.path.exists(training.model):
            training.expect_model(wanted)  # as a whole, even where the kill came after it
        if not killed:
            ends += 1
            os.remove(training.model)
    if resumed < KILLS // 4:
        fail(f"only {resumed} of the killed trainings went on from a checkpoint")
    return resumed, ends


def main():
    if len(sys.argv) != 2:
        fail("the program is needed")
    seed = int(os.environ.get("CHAOS_SEED", "20"))
    with tempfile.TemporaryDirectory(prefix="efmd-chaos-") as folder:
        with open(os.path.join(folder, "spec.json"), "w", encoding="utf-8") as file:
            json.dump(SPEC, file)
        whole = Training(sys.argv[1], folder, "whole")
        begun = time.monotonic()
        whole.expect_end(whole.start())
        longest = min(max(time.monotonic() - begun, 0.2), 2)
        wanted = read(whole.model)
        training = Training(sys.argv[1], folder, "killed")
        resumed, ends = disturb(training, wanted, longest, seed)
        training.expect_end(training.start("--resume"))
        training.expect_model(wanted)
        for path in (training.checkpoint, training.temporary):
            if os.path.exists(path):
                fail(f"{os.path.basename(path)} is left")
        print(f"{KILLS} kills, {resumed} times gone on from a checkpoint, {ends + 1} trainings ended: "
              f"the same {len(wanted)} bytes, in {time.monotonic() - begun:.1f} s")


main()
