#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Includes point down only: server -> api -> core, and between the rooms of a floor as listed here."""

import os

import sources

# room: the rooms that it may include beside itself. "server" is what lies in server/ itself.
CORE = ["core/base", "core/image", "core/data", "core/net", "core/field", "core/flow", "core/model", "core/train"]
ROOMS = {
    "core/base": [],
    "core/image": ["core/base"],
    "core/data": ["core/base", "core/image"],
    "core/net": ["core/base"],
    "core/field": ["core/base", "core/net"],
    "core/flow": ["core/base", "core/field"],
    "core/model": ["core/base", "core/data", "core/net", "core/field", "core/flow"],
    "core/train": ["core/base", "core/data", "core/net", "core/field", "core/model"],
    "api": CORE,
    "server": CORE + ["api"],
    "server/http": CORE + ["api", "server"],
    "server/store": ["core/base", "server"],
    "server/engine": CORE + ["api", "server", "server/store"],
    "server/train": CORE + ["api", "server", "server/store"],
    "server/jobs": CORE + ["api", "server", "server/http", "server/store", "server/engine", "server/train"],
    "server/endpoints": CORE + ["api", "server", "server/http", "server/store", "server/engine", "server/train", "server/jobs"],
}
# The one that puts everything together.
ANYTHING = ["server/main.c", "server/daemon.c"]

# Headers of libraries that only these files may know.
EXCLUSIVE = {
    "microhttpd.h": ["server/http/http.c"],
    "gnutls/": ["server/http/tls.c"],
    "dnnl.h": ["core/net/onednn_ops"],
    "cblas.h": ["tests/bench/"],
    "spng.h": ["core/image/"],
    "jpeglib.h": ["core/image/"],
    "webp/": ["core/image/"],
    "zlib.h": ["core/data/", "core/image/", "server/http/coding.c"],
    "nettle/": ["core/base/"],
    "curl/": ["server/jobs/outbound", "tests/"],
    "sqlite3.h": ["server/store/sqlite"],
    "zip.h": ["core/data/zip.c"],
}

# The contract is pure: no sockets, no locks, no clock; and the mathematics has threads in one place only.
FORBIDDEN = {
    "api": ["pthread.h", "semaphore.h", "threads.h", "sys/socket.h", "netinet/", "arpa/", "poll.h", "sys/epoll.h",
            "time.h", "sys/time.h", "unistd.h", "fcntl.h"],
    "core": ["pthread.h", "semaphore.h", "threads.h", "sys/socket.h", "netinet/", "arpa/", "poll.h", "sys/epoll.h"],
}
ALLOWED = {("core/base/team.c", "pthread.h"), ("core/field/blas_threads.c", "pthread.h")}


def room_of(name):
    folder = os.path.dirname(name)
    while folder and folder not in ROOMS:
        folder = os.path.dirname(folder)
    return folder


def floor_complaints(name):
    room = room_of(name)
    floor = name.split("/")[0]
    if not room:
        yield f"{name}: lies in a folder that layers.py does not know"
        return
    for line, path, quoted in sources.includes_of(name):
        where = f"{name}:{line}"
        if quoted:
            other = room_of(path)
            if not other or not os.path.isfile(os.path.join(sources.ROOT, path)):
                yield f'{where}: "{path}" is not a path from the root of the project'
            elif path.endswith("_internal.h") and other != room:
                yield f"{where}: {path} is private to {other}"
            elif name not in ANYTHING and other != room and other not in ROOMS[room]:
                yield f"{where}: {room} may not include {other} ({path})"
        elif (name, path) not in ALLOWED:
            for header in FORBIDDEN.get(floor, []):
                if path == header or header.endswith("/") and path.startswith(header):
                    yield f"{where}: {floor} may not use <{path}>"


def exclusive_complaints(name):
    for line, path, _ in sources.includes_of(name):
        for header, users in EXCLUSIVE.items():
            matches = path == header or header.endswith("/") and path.startswith(header)
            if matches and not name.startswith(tuple(users)) and not name.startswith("tests/"):
                yield f"{name}:{line}: <{path}> is only for {', '.join(users)}"


def main():
    complaints = []
    for name in sources.c_files("core", "api", "server"):
        complaints += floor_complaints(name)
    for name in sources.c_files():
        complaints += exclusive_complaints(name)
    sources.report(complaints, "layers")


main()
