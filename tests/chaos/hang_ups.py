#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two hundred clients that hang up at a random moment, beside eight that stay.

    tests/chaos/hang_ups.py EFMD [CLIENTS [SEED]]

Each of them leaves before its body, in the middle of it, while it waits, while it is computed or while it is answered, half of them with a
reset. Those that stay get the bytes that they get from a daemon of their own; no line is evaluated for who has gone but in the
evaluation that was under way; then the queue is empty, and descriptors and memory are back where they were."""

import os
import pathlib
import random
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from demo_daemon import PICTURE, DemoDaemon  # noqa: E402

STAY = 8
MOMENTS = ("head", "body", "waiting", "computed", "answered")
PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))


def staying_request(number):
    return f"/transfer?model=demo&n=2&steps=10&seed={number}"


def stay(daemon, picture, number, answers):
    """Asks until it is let in."""
    end = time.monotonic() + 120 * PATIENCE
    while time.monotonic() < end:
        answers[number] = daemon.call("POST", staying_request(number), picture)
        if answers[number][0] != 429:
            return
        time.sleep(0.05)


def hang_up(connection, reset):
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def leave(daemon, picture, moment, delay, reset):
    """Sends so much of a request, waits, leaves. Requests that are left while they wait or are computed are long."""
    path = "/transfer?model=demo&n=16&steps=500" if moment in ("waiting", "computed") else "/transfer?model=demo&n=4&steps=3"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
    connection = socket.create_connection(("127.0.0.1", daemon.port), timeout=60)
    try:
        if moment == "head":
            connection.sendall(head[:random.randrange(len(head))])
        elif moment == "body":
            connection.sendall(head + picture[:random.randrange(len(picture))])
        else:
            connection.sendall(head + picture)
        if moment == "answered":
            connection.settimeout(delay + 2)
            try:
                connection.recv(random.randrange(1, 200))  # the beginning of the answer, if it comes so soon
            except OSError:
                pass
        else:
            time.sleep(delay if moment == "computed" else delay / 10)
        hang_up(connection, reset)
    except OSError:
        connection.close()


def settles(what, wanted, seconds):
    end = time.monotonic() + seconds * PATIENCE
    while time.monotonic() < end:
        if what() <= wanted:
            return True
        time.sleep(0.05)
    return False


def crowd(daemon, picture, count, dice):
    """Everybody comes within a second or two; returns what those that stay were answered."""
    answers = [None] * STAY
    threads = [threading.Thread(target=stay, args=(daemon, picture, number, answers)) for number in range(STAY)]
    threads += [threading.Thread(target=leave, args=(daemon, picture, MOMENTS[i % len(MOMENTS)], dice.uniform(0, 1.5), dice.random() < 0.5))
                for i in range(count)]
    dice.shuffle(threads)
    for thread in threads:
        thread.start()
        time.sleep(dice.uniform(0, 0.02))
    for thread in threads:
        thread.join()
    return answers


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(10**6)
    picture = PICTURE.read_bytes()
    dice = random.Random(seed)
    random.seed(seed)
    failures = []

    alone = DemoDaemon(sys.argv[1], "--idle-timeout", "5", "--body-timeout", "5")
    wanted = [alone.call("POST", staying_request(number), picture) for number in range(STAY)]
    alone.stop()
    assert all(status == 200 for status, _ in wanted)

    daemon = DemoDaemon(sys.argv[1], "--idle-timeout", "5", "--body-timeout", "5")
    crowd(daemon, picture, 40, dice)  # so that all memory that is kept is there
    settles(lambda: daemon.metric("efm_queue_requests"), 0, 30)
    files, memory = daemon.files(), daemon.memory()
    answers = crowd(daemon, picture, count, dice)
    if answers != wanted:
        failures.append(f"those that stayed got {[answer and answer[0] for answer in answers]}, or other bytes than alone")
    begun = time.monotonic()
    if not settles(lambda: daemon.metric("efm_lines_in_flight") + daemon.metric("efm_queue_requests"), 0, 5):
        failures.append("work goes on though nobody is there")
    settled = time.monotonic() - begun
    late = daemon.metric("efm_late_evaluations_total")
    if late:
        failures.append(f"{late:.0f} evaluations for clients that had gone")
    if not settles(daemon.files, files + 2, 12):
        failures.append(f"{daemon.files()} descriptors, {files} before")
    if daemon.memory() > memory + 32 * PATIENCE:
        failures.append(f"{daemon.memory():.0f} MB, {memory:.0f} before")
    print(f"seed {seed}: {count} hung up, {daemon.metric('efm_lines_cancelled_total'):.0f} lines withdrawn, {late:.0f} late evaluations, "
          f"empty after {settled:.1f} s, descriptors {files} -> {daemon.files()}, memory {memory:.1f} -> {daemon.memory():.1f} MB")
    if not daemon.metric("efm_lines_cancelled_total"):
        failures.append("nobody left while there was something to withdraw")
    if daemon.stop() != 0:
        failures.append("the daemon did not end well")
    for failure in failures:
        print(f"failed: {failure}")
    if failures:
        print(daemon.log.read_text()[-3000:])
    sys.exit(1 if failures else 0)


main()
