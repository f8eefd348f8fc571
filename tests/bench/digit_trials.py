#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Judges what digit_trials writes: reads its JSON lines, adds target_rate, frechet and colour_error, prints them.

usage: digit_trials MNIST FOLDER ... | digit_trials.py JUDGE FOLDER

JUDGE is judge.py, whose functions and classifier are used on the same bytes that PNG files would hold.
"""

import importlib.util
import json
import os
import sys

import numpy


def load(path):
    spec = importlib.util.spec_from_file_location("judge", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def images(folder, name):
    return numpy.fromfile(os.path.join(folder, name), dtype=numpy.uint8).reshape(-1, 32, 32, 3).astype(numpy.float32) / 255


def main():
    judge, folder = load(sys.argv[1]), sys.argv[2]
    weights = dict(numpy.load(os.path.join(os.path.dirname(os.path.abspath(sys.argv[1])), "classifier.npz")))
    sources = real = None
    for line in sys.stdin:
        look = json.loads(line)
        if sources is None:
            sources = judge.dominant(images(folder, "sources.u8"))
            real = judge.features(images(folder, "real.u8").max(-1), weights)
            half = len(real) // 2
            print(json.dumps({"floor": round(judge.frechet(real[:half], real[half:]), 1)}))
        result = images(folder, look.pop("file"))
        features = judge.features(result.max(-1), weights)
        predicted = (features @ weights["f2.weight"].T + weights["f2.bias"]).argmax(1)
        look["target_rate"] = round(float((predicted == 2).mean()), 4)
        look["frechet"] = round(judge.frechet(features, real), 1)
        look["colour_error"] = round(float(numpy.abs(sources - judge.dominant(result)).mean()), 4)
        print(json.dumps(look), flush=True)


main()
