#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes swiss_roll.png: make_swiss_roll.py POINTS.csv, written by tests/bench/toy_trials with file=POINTS.csv

source   N(0, I), coloured by the angle of each start
lines    learned field lines seen from above, each in the colour of its start, light where they begin
result   where fresh starts landed, in the colour of their start
target   a fresh sample of the roll
"""

import colorsys
import csv
import os
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = os.path.dirname(os.path.abspath(__file__))
SIDE, SCALE, REACH, GAP, TOP = 360, 3, 5.0, 12, 34
TARGET = np.array([70, 78, 92])


def read(path):
    sets, lines = {"source": [], "result": [], "target": []}, {}
    with open(path, newline="") as file:
        for row in csv.reader(file):
            if row[0] == "line":
                lines.setdefault(int(row[1]), []).append([float(v) for v in row[3:]])
            else:
                sets[row[0]].append([float(v) for v in row[1:]])
    return {name: np.array(rows) for name, rows in sets.items()}, [np.array(lines[k]) for k in sorted(lines)]


def colour(start):
    hue = np.arctan2(start[1], start[0]) / (2 * np.pi) % 1
    return np.array([round(255 * c) for c in colorsys.hls_to_rgb(hue, 0.47, 0.62)])


def place(point):
    middle = SIDE * SCALE / 2
    return middle + point[0] / REACH * middle, middle - point[1] / REACH * middle


def panel():
    image = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE), "white")
    return image, ImageDraw.Draw(image, "RGBA")


def dots(points, colours):
    image, draw = panel()
    r = 1.5 * SCALE
    for point, shade in zip(points, colours):
        x, y = place(point)
        draw.ellipse([x - r, y - r, x + r, y + r], fill=(*(int(c) for c in shade), 150))
    return image


def journeys(lines):
    image, draw = panel()
    for line in lines:
        shade = colour(line[0])
        for i in range(len(line) - 1):
            part = (i + 1) / len(line)
            fill = (*(int(c) for c in shade), int(40 + 150 * part))
            draw.line([place(line[i]), place(line[i + 1])], fill=fill, width=int(1.2 * SCALE))
        x, y = place(line[-1])
        r = 2 * SCALE
        draw.ellipse([x - r, y - r, x + r, y + r], fill=(*(int(c) for c in shade), 255))
    return image


def main():
    sets, lines = read(sys.argv[1])
    starts = [colour(p) for p in sets["source"]]
    # Lines that were dropped have no result, so colours and results belong together only where none was.
    whole = len(sets["result"]) == len(starts)
    grey = [TARGET] * len(sets["target"])
    panels = (
        ("source: N(0, I)", dots(sets["source"], starts)),
        ("learned lines, from above", journeys(lines[:150])),
        ("where they land", dots(sets["result"], starts if whole else grey)),
        ("target: swiss roll", dots(sets["target"], grey)),
    )
    sheet = Image.new("RGB", (4 * SIDE + 3 * GAP, SIDE + TOP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype("DejaVuSans.ttf", 15)
    for i, (title, image) in enumerate(panels):
        left = i * (SIDE + GAP)
        sheet.paste(image.resize((SIDE, SIDE), Image.LANCZOS), (left, TOP))
        draw.rectangle([left, TOP, left + SIDE - 1, TOP + SIDE - 1], outline="#ccc")
        draw.text((left + SIDE / 2, TOP / 2), title, fill="#333", font=font, anchor="mm")
    sheet.quantize(256, method=Image.Quantize.MEDIANCUT).save(os.path.join(HERE, "swiss_roll.png"), optimize=True)


main()
