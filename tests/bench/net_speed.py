#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The U-Net of efmd against the same network in PyTorch: they take turns, and the medians are printed.

usage: net_speed.py NET_SPEED REFERENCE_UNET.py [ROUNDS]

NET_SPEED is tests/bench/net_speed of a build with -Dbench=true, REFERENCE_UNET.py a file that defines the module UNet.
PyTorch (Debian's python3-torch) runs at its best: no_grad for inference, autocast for bf16 (GroupNorm gets its own parameters
in the type of its input, which version 1.13 does not do by itself), THREADS [2] threads.
"""

import importlib.util
import os
import subprocess
import sys
import time
import types

import torch

THREADS = int(os.environ.get("THREADS", "2"))
PUBLISHED = dict(nf=128, ch_mult=(1, 2, 2, 2), blocks=4)
SMALL = dict(nf=32, ch_mult=(1, 2, 2, 2), blocks=2)
# what, network, batch, precision, seconds of one round at most worth waiting for, rounds
CASES = [
    ("infer", PUBLISHED, 16, "bf16", 1),
    ("infer", PUBLISHED, 1, "bf16", 1),
    ("infer", PUBLISHED, 16, "f32", 1),
    ("infer", PUBLISHED, 1, "f32", 1),
    ("train", PUBLISHED, 16, "bf16", 0.6),
    ("train", PUBLISHED, 16, "f32", 0.6),
    ("train", SMALL, 64, "bf16", 1),
    ("train", SMALL, 64, "f32", 1),
]


def load_reference(path):
    spec = importlib.util.spec_from_file_location("reference_unet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def group_norm(self, x):
    return torch.nn.functional.group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class Torch:
    def __init__(self, reference, what, network, batch, precision):
        torch.manual_seed(1)
        self.net = reference.UNet(attn=(16,), size=32, channels=3, **network)
        for parameter in self.net.parameters():
            parameter.data.normal_(0, 0.02)
        self.what, self.bf16 = what, precision == "bf16"
        self.x, self.z = torch.randn(batch, 3, 32, 32), torch.rand(batch) * 10
        self.target = torch.randn(batch, 3, 32, 32)
        for module in self.net.modules():
            if isinstance(module, torch.nn.GroupNorm):
                module.forward = types.MethodType(group_norm, module)
        self.optimiser = torch.optim.Adam(self.net.parameters(), 2e-4)
        self.average = [p.detach().clone() for p in self.net.parameters()]

    def forward(self):
        if not self.bf16:
            return self.net(self.x, self.z)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.net(self.x, self.z)

    def train(self):
        self.optimiser.zero_grad()
        fx, fz = self.forward()
        loss = ((fx.float() - self.target) ** 2).mean() + (fz.float() ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_mul_(self.average, 0.999)
            torch._foreach_add_(self.average, list(self.net.parameters()), alpha=0.001)

    def once(self):
        begin = time.monotonic()
        if self.what == "train":
            self.train()
        else:
            with torch.no_grad():
                self.forward()
        return time.monotonic() - begin


class Ours:
    def __init__(self, program, what, network, batch, precision):
        mult = ",".join(str(m) for m in network["ch_mult"])
        self.process = subprocess.Popen(
            [program, what, str(network["nf"]), mult, str(network["blocks"]), str(batch), precision, str(THREADS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.bytes = int(self.process.stdout.readline())

    def once(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def median(values):
    return sorted(values)[len(values) // 2]


def main():
    program, reference = sys.argv[1], load_reference(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    torch.set_num_threads(THREADS)
    print(f"{'':5} {'parameters':>10} {'batch':>5} {'':5} {'efmd':>10} {'PyTorch':>10} {'ratio':>6} {'memory of efmd':>15}")
    for what, network, batch, precision, share in CASES:
        ours, theirs = Ours(program, what, network, batch, precision), Torch(reference, what, network, batch, precision)
        size = sum(p.numel() for p in theirs.net.parameters())
        ours.once(), theirs.once()
        mine, other = [], []
        for _ in range(max(2, int(rounds * share))):
            mine += [ours.once(), ours.once()]
            other.append(theirs.once())
        unit = 1e3 / batch if what == "infer" else 1e3
        name = "ms/im" if what == "infer" else "ms/st"
        print(f"{what:5} {size:10} {batch:5} {precision:5} {median(mine) * unit:10.2f} {median(other) * unit:10.2f} "
              f"{median(other) / median(mine):6.2f} {ours.bytes / 1e6:12.0f} MB   {name}", flush=True)
        ours.close()


main()
