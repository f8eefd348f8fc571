# SPDX-License-Identifier: Apache-2.0
"""The demo model behind FastAPI and PyTorch, for comparison: POST /transfer takes a PNG and gives a PNG.

    REFERENCE_UNET=reference_unet.py MODEL=threes-to-twos.safetensors uvicorn serve_torch:app --port 8001

At its best: bf16 autocast, no_grad, channels last, requests gathered into batches of up to BATCH images while the one before runs (16:
its fastest size), the PNG work in a thread pool. The same ten Euler steps in the root of the height as efmd's default."""

import asyncio
import importlib.util
import io
import json
import os
import queue
import struct
import threading
import types

import numpy
import torch
from fastapi import FastAPI, Request, Response
from PIL import Image

STEPS = int(os.environ.get("STEPS", "10"))
BATCH = int(os.environ.get("BATCH", "16"))
torch.set_num_threads(int(os.environ.get("THREADS", "2")))


def load_reference(path):
    spec = importlib.util.spec_from_file_location("reference_unet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def group_norm(self, x):
    # in f32: in bf16 its sums lose so much that the digits come out wrong
    return torch.nn.functional.group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps).to(x.dtype)


def load_model(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + size])
    facts = head.pop("__metadata__")
    net = load_reference(os.environ["REFERENCE_UNET"]).UNet(
        nf=int(facts["nf"]), ch_mult=tuple(int(m) for m in facts["ch_mult"].split(",")), blocks=int(facts["num_res_blocks"]),
        attn=tuple(int(a) for a in facts["attn_resolutions"].split(",")), size=int(facts["image_size"]),
        channels=int(facts["num_channels"]))
    state = {}
    for name, entry in head.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        kind = {"F32": torch.float32, "BF16": torch.bfloat16}[entry["dtype"]]
        raw = torch.from_numpy(numpy.frombuffer(data[begin:end], numpy.uint8).copy())
        state[name] = raw.view(kind).float().reshape(entry["shape"])
    net.load_state_dict(state)
    for module in net.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = types.MethodType(group_norm, module)
    return net.eval().to(memory_format=torch.channels_last), float(facts["L"]), float(facts["lowest"])


NET, LENGTH, LOWEST = load_model(os.environ["MODEL"])


def carry(x):
    x = x.contiguous(memory_format=torch.channels_last)
    heights = [LENGTH * (k / STEPS) ** 2 for k in range(STEPS + 1)]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for low, high in zip(heights, heights[1:]):
            fx, fz = NET(x, torch.full((len(x),), max(low, LOWEST)))
            x = x + fx.float() / fz.float()[:, None, None, None] * (high - low)
    return x


def decode(data):
    pixels = numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((32, 32)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1


def encode(x):
    pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


waiting = queue.Queue()


def work():
    while True:
        jobs = [waiting.get()]
        while len(jobs) < BATCH and not waiting.empty():
            jobs.append(waiting.get())
        results = carry(torch.stack([image for image, _, _ in jobs]))
        for (_, loop, future), result in zip(jobs, results):
            loop.call_soon_threadsafe(future.set_result, result)




app = FastAPI()
threading.Thread(target=work, daemon=True).start()


@app.post("/transfer")
async def transfer(request: Request):
    loop = asyncio.get_running_loop()
    image = await loop.run_in_executor(None, decode, await request.body())
    future = loop.create_future()
    waiting.put((image, loop, future))
    return Response(await loop.run_in_executor(None, encode, await future), media_type="image/png")
