#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon speaks TLS itself: usage tls.py EFMD. Answers that libmicrohttpd gives, those that are written beside it (a body
that grows too large, one that does not come), streams, files, clients that hang up; and nothing for who speaks plain HTTP or an
old version."""

import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings

PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))
SLOW = "/v1/generate?model=slow&solver=euler&steps=1000&n=32&seed=1"


class Server:
    """The daemon with a fresh certificate."""

    def __init__(self, efmd, *options):
        self.folder = tempfile.TemporaryDirectory()
        path = self.folder.name
        make_certificate(path + "/cert.pem", path + "/key.pem")
        self.log = open(path + "/log", "wb")
        self.process = subprocess.Popen(
            [efmd, "--listen", "127.0.0.1:0", "--port-file", path + "/port", "--state-dir", path + "/state",
             "--tls-cert", path + "/cert.pem", "--tls-key", path + "/key.pem", *options], stderr=self.log)
        self.context = ssl.create_default_context(cafile=path + "/cert.pem")
        end = time.monotonic() + 20 * PATIENCE
        while not os.path.exists(path + "/port"):
            assert time.monotonic() < end and self.process.poll() is None, "it does not start"
            time.sleep(0.02)
        self.port = int(open(path + "/port").read())

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30 * PATIENCE)
        return self.context.wrap_socket(plain, server_hostname="localhost")

    def ask(self, method, path, body=b"", *headers):
        with self.connect() as link:
            link.sendall(head(method, path, len(body), *headers) + body)
            return read_answer(link)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30 * PATIENCE)
        assert status == 0, f"it ended with {status}: " + open(self.folder.name + "/log").read()[-3000:]


def make_certificate(certificate, key):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out",
                    certificate], check=True, capture_output=True)


def head(method, path, length, *headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if length or method != "GET":
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_answer(link):
    """Status, headers and body of what comes until the other side ends."""
    pieces = []
    while piece := link.recv(65536):
        pieces.append(piece)
    top, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    return int(top.split()[1]), top.decode(), body


def noise(rows, side, seed):
    """An NPY of square pictures."""
    top = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, {side}, {side}), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(top).to_bytes(2, "little") + top.encode() + random.Random(seed).randbytes(rows * side * side)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def test_usual(server):
    status, top, body = server.ask("GET", "/readyz")
    check(status == 200, f"readyz: {status}")
    for name, toy in (("roll", b'{"toy":"swiss_roll","count":200}'), ("noise", b'{"toy":"gaussian","count":200,"dimension":2}')):
        status, top, body = server.ask("PUT", f"/v1/datasets/{name}", toy)
        check(status == 201, f"dataset: {status} {body}")
    status, top, body = server.ask("PUT", "/v1/models/plane", b'{"arch":"exact","source":"noise","target":"roll"}')
    check(status == 201, f"model: {status} {body}")
    status, top, body = server.ask("POST", "/v1/generate?model=plane&n=4&seed=1", b"", "Accept: application/json")
    check(status == 200 and json.loads(body), f"generate: {status} {body}")
    status, top, weights = server.ask("GET", "/v1/models/plane/weights")
    check(status == 200 and weights, f"a file: {status}")
    status, top, metrics = server.ask("GET", "/metrics")
    expires = [float(line.split()[1]) for line in metrics.decode().splitlines() if line.startswith("efm_tls_certificate_expiry_timestamp_seconds ")]
    check(len(expires) == 1 and 1.9 < (expires[0] - time.time()) / 86400 < 2.1, f"the end of the certificate: {expires}")
    status, top, part = server.ask("GET", "/v1/models/plane/weights", b"", "Range: bytes=3-9")
    check(status == 206 and part == weights[3:10], f"a part of a file: {status}")


def test_curl(server):
    url = f"https://localhost:{server.port}/v1/models"
    done = subprocess.run(["curl", "-sS", "--fail", "--cacert", server.folder.name + "/cert.pem", url], capture_output=True)
    check(done.returncode == 0 and b"plane" in done.stdout, done.stderr)
    done = subprocess.run(["curl", "-sS", "--fail", url], capture_output=True)
    check(done.returncode != 0, "a certificate that nobody vouches for was taken")


def test_old_and_plain(server):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(server.folder.name + "/cert.pem")
    warnings.simplefilter("ignore", DeprecationWarning)  # it is old, which is the point
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    try:
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            old.wrap_socket(plain, server_hostname="localhost")
        raise AssertionError("TLS 1.1 was taken")
    except (ssl.SSLError, OSError):
        pass
    with socket.create_connection(("127.0.0.1", server.port), timeout=10 * PATIENCE) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            check(b"HTTP/1.1 200" not in plain.recv(4096), "plain HTTP was answered")
        except OSError:
            pass


def test_written_beside(server):
    """A chunked body that is too large, and one that stops coming."""
    with server.connect() as link:
        link.sendall(head("POST", "/v1/transfer?model=plane", 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            for _ in range(64):
                link.sendall(piece)
        except OSError:
            pass
        status, top, body = read_answer(link)
        check(status == 413 and json.loads(body)["code"] == "body_too_large", f"a body without an end: {status} {body}")
    with server.connect() as link:
        link.sendall(head("POST", "/v1/transfer?model=plane", 100) + b"0123456789")
        status, top, body = read_answer(link)
        check(status == 408 and json.loads(body)["code"] == "request_timeout", f"half a body: {status} {body}")


def test_hang_up(server):
    """Its work is given up."""
    for name, first in (("haze", 1), ("fog", 2)):
        status, _, body = server.ask("PUT", f"/v1/datasets/{name}", noise(64, 64, first))
        check(status == 201, body)
    status, _, body = server.ask("PUT", "/v1/models/slow",
                                 b'{"arch":"exact","field":"chain","map":"chain","source":"haze","target":"fog"}')
    check(status == 201, body)
    link = server.connect()
    link.sendall(head("POST", SLOW, 0))
    time.sleep(0.5)
    link.close()
    end = time.monotonic() + 20 * PATIENCE
    while b'efm_cancelled_total{reason="client_gone"} 1' not in server.ask("GET", "/metrics")[2]:
        check(time.monotonic() < end, "a client that hung up was not noticed")
        time.sleep(0.1)


def test_stream(server):
    spec = {"source": "gaussian", "target": {"toy": "swiss_roll", "count": 200}, "steps": 20, "model": "trained"}
    status, _, body = server.ask("POST", "/v1/train", json.dumps(spec).encode(), "Content-Type: application/json")
    check(status == 202, body)
    path = f"/v1/jobs/{json.loads(body)['id']}/events"
    status, top, body = server.ask("GET", path, b"", "Accept: text/event-stream")
    check(status == 200 and b'"status":"succeeded"' in body, f"events: {status} {body[-300:]}")


def test_many(server):
    failures = []

    def ask():
        for _ in range(4):
            status = server.ask("POST", "/v1/generate?model=plane&n=1&seed=2", b"", "Accept: application/json")[0]
            if status != 200:
                failures.append(status)

    threads = [threading.Thread(target=ask) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not failures, f"{len(failures)} of 128 failed: {failures[:5]}")


def test_bad_files(efmd):
    with tempfile.TemporaryDirectory() as path:
        make_certificate(path + "/a.pem", path + "/a.key")
        make_certificate(path + "/b.pem", path + "/b.key")
        for certificate, key, good in (("a.pem", "a.key", True), ("a.pem", "b.key", False), ("a.key", "a.key", False),
                                       ("none.pem", "a.key", False)):
            done = subprocess.run([efmd, "--check-config", "--tls-cert", f"{path}/{certificate}", "--tls-key", f"{path}/{key}"],
                                  capture_output=True)
            check((done.returncode == 0) == good, f"{certificate} with {key}: {done.returncode} {done.stderr}")
            check(good or b"TLS" in done.stderr, done.stderr)
        done = subprocess.run([efmd, "--check-config", "--tls-cert", path + "/a.pem"], capture_output=True)
        check(done.returncode != 0, "a certificate without a key was taken")


def main():
    efmd = os.path.abspath(sys.argv[1])
    test_bad_files(efmd)
    server = Server(efmd, "--body-timeout", "2", "--max-image-body", "1M")
    try:
        for test in (test_usual, test_curl, test_old_and_plain, test_written_beside, test_hang_up, test_stream, test_many):
            begun = time.monotonic()
            test(server)
            print(f"{test.__name__}: {time.monotonic() - begun:.1f} s", flush=True)
    except BaseException:
        server.process.kill()
        sys.stderr.write(open(server.folder.name + "/log").read()[-3000:])
        raise
    server.stop()
    print("passed")


if __name__ == "__main__":
    main()
