#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes coloured digits from the MNIST training files.

  make_digits.py IMAGES LABELS DIGIT FIRST COUNT SEED OUT [--size 32] [--hold-out 1000]

IMAGES and LABELS are the two IDX files, plain or gzipped. The digits of the wanted kind are counted in the
order of the file; FIRST..FIRST+COUNT-1 of them are brought to 32x32, and their grey is multiplied by a colour
of random hue at full saturation, on black. The colour depends on SEED, DIGIT and the number of the digit
alone. OUT ending in .tar gets them as a tar of PNG files, anything else is a folder. The last 1,000 of each
digit are for validation and are not touched, unless --hold-out says otherwise.
"""

import argparse
import colorsys
import gzip
import io
import os
import sys
import tarfile

import numpy
from PIL import Image


def read_idx(path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        sys.exit(f"{path}: not an IDX file of bytes")
    rank = data[3]
    shape = numpy.frombuffer(data, ">u4", rank, 4)
    return numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * rank).reshape(shape)


def coloured(grey, size, seed, digit, number):
    grey = Image.fromarray(grey).resize((size, size), Image.BILINEAR)
    hue = numpy.random.default_rng([seed, digit, number]).random()
    colour = numpy.array(colorsys.hsv_to_rgb(hue, 1.0, 1.0))
    pixels = numpy.rint(numpy.asarray(grey, numpy.float64)[:, :, None] * colour)
    png = io.BytesIO()
    Image.fromarray(pixels.astype(numpy.uint8)).save(png, "PNG", optimize=True)
    return png.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("labels")
    for name in ("digit", "first", "count", "seed"):
        parser.add_argument(name, type=int)
    parser.add_argument("out")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--hold-out", type=int, default=1000)
    arguments = parser.parse_args()

    images, labels = read_idx(arguments.images), read_idx(arguments.labels)
    where = numpy.flatnonzero(labels == arguments.digit)
    usable = len(where) - arguments.hold_out
    if arguments.first < 0 or arguments.count < 1 or arguments.first + arguments.count > usable:
        sys.exit(f"there are {usable} digits {arguments.digit} to choose from")

    files = []
    for number in range(arguments.first, arguments.first + arguments.count):
        png = coloured(images[where[number]], arguments.size, arguments.seed, arguments.digit, number)
        files.append((f"{arguments.digit}-{number:05d}.png", png))

    if arguments.out.endswith(".tar"):
        # ustar with all times and owners zero: the same digits give the same file
        with tarfile.open(arguments.out, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, png in files:
                member = tarfile.TarInfo(name)
                member.size = len(png)
                tar.addfile(member, io.BytesIO(png))
    else:
        os.makedirs(arguments.out, exist_ok=True)
        for name, png in files:
            with open(os.path.join(arguments.out, name), "wb") as file:
                file.write(png)


main()
