#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures of the README from a running daemon: make_pictures.py http://127.0.0.1:8080

lines.png   one dimension, seen from the side: P (red) uniform at z = 0, Q (blue) in two intervals at z = L = 2; the lines of
            the three maps from 48 fresh samples, traced by POST /v1/models/{name}/trace
digits.png  unseen threes (left), seven points of their journey, and where they landed (right), by POST /transfer?trajectory=8
            through exact fields
journeys.png the same of eight threes by the demo model, in two columns
"""

import io
import json
import os
import random
import sys
import urllib.request

from PIL import Image, ImageDraw

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = sys.argv[1].rstrip("/")


def call(method, path, body=b"", kind="application/json"):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = urllib.request.Request(HOST + path, data=body, method=method, headers={"Content-Type": kind})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def panel(model, title, length, lines):
    width, height, scale, low, high = 300, 420, 2, -4.2, 4.2
    below, above = -1.6, length + 1.6
    image = Image.new("RGB", (width * scale, height * scale), "white")
    draw = ImageDraw.Draw(image)

    def place(x, z):
        return (
            (x - low) / (high - low) * width * scale,
            (above - z) / (above - below) * height * scale,
        )

    for z, left, right, colour in ((0, -1, 1, "#d33"), (length, -3, -2, "#36c"), (length, 2, 3, "#36c")):
        draw.line([place(low, z), place(high, z)], fill="#ddd", width=2)
        draw.line([place(left, z), place(right, z)], fill=colour, width=10)
    for line in lines:
        shade = "#444" if line["state"] == "landed" else "#e90"
        draw.line([place(*point) for point in line["points"]], fill=shade, width=2)
    draw.text((10, 6), title, fill="black")
    return image.resize((width, height), Image.LANCZOS)


def make_lines():
    length = 2
    call("PUT", "/v1/datasets/picture-p", {"toy": "uniform", "dimension": 1, "count": 2000, "seed": 1})
    call("PUT", "/v1/datasets/picture-q", {"toy": "two_intervals", "count": 2000, "seed": 2})
    chance = random.Random(3)
    starts = [[chance.uniform(-1, 1)] for _ in range(48)]
    panels = []
    for kind in ("forward", "stochastic", "chain"):
        spec = {"arch": "exact", "source": "picture-p", "target": "picture-q", "L": length, "map": kind}
        if kind == "forward":
            spec["field"] = "superposition"
        call("PUT", "/v1/models/picture", spec)
        answer = json.loads(call("POST", "/v1/models/picture/trace", {"starts": starts, "points": 64, "seed": 5}))
        panels.append(panel("picture", kind, length, answer["lines"]))
    sheet = Image.new("RGB", (sum(p.width for p in panels) + 20, panels[0].height), "white")
    for i, one in enumerate(panels):
        sheet.paste(one, (i * (one.width + 10), 0))
    sheet.save(os.path.join(HERE, "lines.png"), optimize=True)
    call("DELETE", "/v1/models/picture")
    for name in ("picture-p", "picture-q"):
        call("DELETE", "/v1/datasets/" + name)


def make_digits():
    demo = os.path.join(HERE, "..", "deploy", "demo")
    for name in ("threes", "twos"):
        with open(os.path.join(demo, name + ".tar"), "rb") as file:
            call("PUT", "/v1/datasets/picture-" + name, file.read(), "application/x-tar")
    spec = {"arch": "exact", "source": "picture-threes", "target": "picture-twos", "L": 10}
    rows = []
    for field in ("chain", "per_plate"):
        call("PUT", "/v1/models/picture", dict(spec, map="chain" if field == "chain" else "forward"))
        for name in sorted(os.listdir(os.path.join(demo, "unseen")))[:4]:
            with open(os.path.join(demo, "unseen", name), "rb") as file:
                row = call("POST", "/transfer?model=picture&trajectory=8&seed=1", file.read(), "image/png")
            rows.append(Image.open(io.BytesIO(row)).convert("RGB"))
    call("DELETE", "/v1/models/picture")
    for name in ("threes", "twos"):
        call("DELETE", "/v1/datasets/picture-" + name)
    sheet = Image.new("RGB", (rows[0].width, sum(r.height for r in rows)))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.NEAREST).save(os.path.join(HERE, "digits.png"), optimize=True)


def make_journeys():
    demo = os.path.join(HERE, "..", "deploy", "demo")
    with open(os.path.join(demo, "threes-to-twos.safetensors"), "rb") as file:
        call("PUT", "/v1/models/picture", file.read(), "application/octet-stream")
    rows = []
    for name in sorted(os.listdir(os.path.join(demo, "unseen")))[:8]:
        with open(os.path.join(demo, "unseen", name), "rb") as file:
            row = call("POST", "/transfer?model=picture&trajectory=8", file.read(), "image/png")
        rows.append(Image.open(io.BytesIO(row)).convert("RGB"))
    call("DELETE", "/v1/models/picture")
    half, gap = (len(rows) + 1) // 2, 12
    width, height = rows[0].size
    sheet = Image.new("RGB", (2 * width + gap, half * height), "white")
    for i, row in enumerate(rows):
        sheet.paste(row, (i // half * (width + gap), i % half * height))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.NEAREST).save(os.path.join(HERE, "journeys.png"), optimize=True)


make_lines()
make_digits()
make_journeys()
