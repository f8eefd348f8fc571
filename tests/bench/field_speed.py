#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The exact per-plate field in PyTorch, as the published code writes it: differences of all points and all charges.

usage: field_speed.py FOLDER THREADS SECONDS [products]

Prints the median milliseconds of an evaluation (of one alone for 0 SECONDS) and writes torch.f32. With "products" squared distances and means
come from matrix products instead, which is faster and loses digits near a charge.
"""

import math
import sys
import time

import numpy
import torch

# Differences of one piece of the points at a time when all of them would not fit: bytes of one tensor.
PIECE = 1 << 30


def read(folder, name, *shape):
    return torch.from_numpy(numpy.fromfile(f"{folder}/{name}.f32", dtype=numpy.float32).reshape(shape))


def mean_offset(points, plate):
    """u: the points minus the plate's mean weighted by r^-(D + 1)."""
    difference = points[:, None, :] - plate[None, :, :]
    squared = (difference**2).sum(-1)
    weights = torch.softmax(-points.shape[1] / 2 * torch.log(squared), 1)
    return (weights[:, :, None] * difference).sum(1)


def mean_offset_by_products(points, plate):
    squared = (points**2).sum(1)[:, None] + (plate**2).sum(1)[None, :] - 2 * points @ plate.T
    weights = torch.softmax(-points.shape[1] / 2 * torch.log(squared), 1)
    return points - weights @ plate


def per_plate(points, source, target, gamma, offset):
    u = offset(points, source)
    v = offset(points, target)
    return math.sqrt(points.shape[1]) * (u / (u.norm(dim=1, keepdim=True) + gamma) -
                                         v / (v.norm(dim=1, keepdim=True) + gamma))


def main():
    folder, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    offset = mean_offset_by_products if sys.argv[4:] == ["products"] else mean_offset
    torch.set_num_threads(threads)
    with open(f"{folder}/shape") as file:
        b, count, dimension, length, gamma = file.read().split()
    b, count, dimension, length, gamma = int(b), int(count), int(dimension), float(length), float(gamma)
    source = read(folder, "source", count, dimension)
    target = read(folder, "target", count, dimension)
    points = read(folder, "points", b, dimension + 1)
    source = torch.cat([source, torch.zeros(count, 1)], 1)
    target = torch.cat([target, torch.full((count, 1), length)], 1)
    piece = max(1, PIECE // (4 * count * (dimension + 1)))

    def evaluate():
        return torch.cat([per_plate(part, source, target, gamma, offset) for part in points.split(piece)])

    times = []
    with torch.no_grad():
        if seconds > 0:
            evaluate()
        end = time.monotonic() + seconds
        while not times or time.monotonic() < end:
            begin = time.monotonic()
            result = evaluate()
            times.append(time.monotonic() - begin)
    result.numpy().astype(numpy.float32).tofile(f"{folder}/torch.f32")
    print(f"{1e3 * sorted(times)[len(times) // 2]:.4f}")


main()
