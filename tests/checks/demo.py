#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The demo model does what the README says: it was made by the spec beside it, it is small, and it carries threes that it
never saw to pictures of the same colour and another shape, the same bytes alone and all at once. Argument: the program."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import sources

try:
    import numpy
    from PIL import Image
except ImportError:
    sys.exit(77)

DEMO = os.path.join(sources.ROOT, "deploy", "demo")
MODEL = os.path.join(DEMO, "threes-to-twos.safetensors")
LARGEST = 6_000_000


def check_file():
    with open(MODEL, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        metadata = json.loads(file.read(size))["__metadata__"]
    if os.path.getsize(MODEL) > LARGEST:
        yield f"the demo model has {os.path.getsize(MODEL)} bytes, more than {LARGEST}"
    with open(os.path.join(DEMO, "threes-to-twos.json"), encoding="utf-8") as file:
        spec = json.load(file)
    record = json.loads(metadata["record"])
    for key, value in (("steps", spec["steps"]), ("seed", spec["seed"]), ("target", spec["field"]), ("sampler", spec["sampler"]),
                       ("pairing", spec["pairing"]), ("charges", spec["charges"]), ("batch", spec["batch"])):
        if record.get(key) != value:
            yield f"the demo model was made with {key} {record.get(key)!r}, its spec says {value!r}"
    if float(metadata["L"]) != spec["L"]:
        yield f"the demo model has L {metadata['L']}, its spec {spec['L']}"
    for side in ("source", "target"):
        if metadata[side + "_name"] != spec[side]["name"]:
            yield f"the {side} of the demo model is {metadata[side + '_name']}"


def pixels(png):
    return numpy.asarray(Image.open(io.BytesIO(png)).convert("RGB"), numpy.float64) / 255


def colour(image):
    """The mean colour, weighted by brightness, scaled to a maximum of 1."""
    mean = (image * image.max(-1, keepdims=True)).sum((0, 1))
    return mean / max(mean.max(), 1e-6)


def check_transfer(host):
    def call(method, path, body, kind):
        request = urllib.request.Request(host + path, data=body, method=method, headers={"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read()

    with open(MODEL, "rb") as file:
        call("PUT", "/v1/models/demo", file.read(), "application/octet-stream")
    errors, names = [], sorted(os.listdir(os.path.join(DEMO, "unseen")))
    parts, alone = [], []
    for name in names:
        with open(os.path.join(DEMO, "unseen", name), "rb") as file:
            source = file.read()
        result = call("POST", "/transfer?model=demo&seed=1", source, "image/png")
        before, after = pixels(source), pixels(result)
        if before.shape != after.shape:
            yield f"{name}: the result is {after.shape}"
            continue
        errors.append(numpy.abs(colour(before) - colour(after)).mean())
        if numpy.abs(before - after).mean() < 0.01:
            yield f"{name} came back as it was"
        alone.append(after)
        parts.append(b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + source + b"\r\n")
    if errors and max(errors) > 0.25 or numpy.mean(errors) > 0.06:
        yield f"colours do not survive: {numpy.round(errors, 3)}"
    sheet = pixels(call("POST", "/transfer?model=demo&seed=1&layout=grid", b"".join(parts) + b"--x--\r\n", "multipart/form-data; boundary=x"))
    side, gap = 32, 2
    columns = (sheet.shape[1] + gap) // (side + gap)
    for i, image in enumerate(alone):
        top, left = i // columns * (side + gap), i % columns * (side + gap)
        if not numpy.array_equal(sheet[top:top + side, left:left + side], image):
            yield f"{names[i]} is another picture when all are sent together"


def main():
    complaints = list(check_file())
    with tempfile.TemporaryDirectory() as work:
        port_file = os.path.join(work, "port")
        daemon = subprocess.Popen([sys.argv[1], "--listen", "127.0.0.1:0", "--port-file", port_file, "--log-level", "error"])
        try:
            for _ in range(400):
                if os.path.exists(port_file) and os.path.getsize(port_file):
                    break
                time.sleep(0.05)
            with open(port_file, encoding="utf-8") as file:
                complaints += check_transfer("http://127.0.0.1:" + file.read().strip())
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)
    sources.report(complaints, "demo model")


main()
