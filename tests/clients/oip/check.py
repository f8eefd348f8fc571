#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client of the Open Inference Protocol that others wrote, tritonclient[http], against a running efmd.

    check.py URL IMAGE_MODEL VECTOR_MODEL

One line a check; the first that fails ends it with status 1.
"""

import io
import struct
import sys
import urllib.request
import zlib

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def check(what, good, detail=""):
    print(f"{'ok' if good else 'FAILED'}  {what}{f': {detail}' if detail and not good else ''}", flush=True)
    if not good:
        sys.exit(1)


def refused(what, status, words, call):
    try:
        call()
    except InferenceServerException as error:
        check(what, error.status() == str(status) and words in error.message(), f"{error.status()} {error.message()}")
        return
    check(what, False, "there was no error")


def png(pixels):
    """A picture [height, width, channels] as a file."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def own(url, path, body, accept):
    """The answer of our own endpoints."""
    request = urllib.request.Request(url + path, data=body, headers={"Accept": accept}, method="POST")
    with urllib.request.urlopen(request) as reply:
        return reply.read()


def tensor(array, datatype, binary=True):
    made = triton.InferInput("input", list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def outputs(*names, binary=True):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def check_server(client, image_model):
    check("the server is live", client.is_server_live())
    check("the server is ready", client.is_server_ready())
    metadata = client.get_server_metadata()
    check("its metadata", metadata["name"] == "efmd" and "binary_tensor_data" in metadata["extensions"], metadata)
    check("a model is ready", client.is_model_ready(image_model))
    check("its version 1 is ready", client.is_model_ready(image_model, "1"))
    check("its version 2 is not", not client.is_model_ready(image_model, "2"))
    check("no such model is not ready", not client.is_model_ready("no-such-model"))
    refused("metadata of no such model", 404, "no-such-model", lambda: client.get_model_metadata("no-such-model"))


def check_repository(client, model):
    names = {item["name"]: item["state"] for item in client.get_model_repository_index()}
    check("the index has the model", names.get(model) == "READY", names)
    client.unload_model(model)
    check("unloaded it is not ready", not client.is_model_ready(model))
    names = {item["name"]: item["state"] for item in client.get_model_repository_index()}
    check("and the index says so", names.get(model) == "UNAVAILABLE", names)
    client.load_model(model)
    check("loaded it is", client.is_model_ready(model))
    refused("loading no such model", 404, "no-such-model", lambda: client.load_model("no-such-model"))


def check_vectors(client, url, model):
    metadata = client.get_model_metadata(model)
    dimension = metadata["inputs"][0]["shape"][1]
    check("metadata of vectors", metadata["inputs"] == [
        {"name": "input", "datatype": "FP32", "shape": [-1, dimension]}] and len(metadata["outputs"]) == 1, metadata)
    points = np.random.default_rng(1).standard_normal((5, dimension)).astype(np.float32)
    file = io.BytesIO()
    np.save(file, points)
    ours = np.load(io.BytesIO(own(url, f"/v1/transfer?model={model}&seed=3", file.getvalue(), "application/x-npy")))
    for binary in (True, False):
        way = "binary" if binary else "JSON"
        reply = client.infer(model, [tensor(points, "FP32", binary)], outputs=outputs("output", binary=binary),
                             request_id="mine", parameters={"seed": 3})
        answer = reply.get_response()
        check(f"vectors in {way}: what /v1/transfer gives", np.array_equal(reply.as_numpy("output"), ours))
        check(f"vectors in {way}: id, model, version, seed", (
            answer["id"], answer["model_name"], answer["model_version"], answer["parameters"]["seed"]) == (
                "mine", model, "1", 3), answer)
    reply = client.infer(model, [tensor(points, "FP32")], parameters={"seed": 3})
    check("no outputs named: output, binary", np.array_equal(reply.as_numpy("output"), ours)
          and "binary_data_size" in reply.get_response()["outputs"][0]["parameters"])
    reply = client.infer(model, [tensor(points.astype(np.float64), "FP64")], parameters={"seed": 3})
    check("FP64", np.array_equal(reply.as_numpy("output"), ours))
    half = client.infer(model, [tensor(points.astype(np.float16), "FP16")], parameters={"seed": 3})
    same = client.infer(model, [tensor(points.astype(np.float16).astype(np.float32), "FP32")], parameters={"seed": 3})
    check("FP16", np.array_equal(half.as_numpy("output"), same.as_numpy("output")))
    reply = client.infer(model, [], parameters={"operation": "generate", "n": 4, "seed": 9})
    check("generate", reply.as_numpy("output").shape == (4, dimension), reply.get_response())
    refused("pixels of vectors", 422, "vectors", lambda: client.infer(
        model, [tensor(points, "FP32")], outputs=outputs("pixels")))
    refused("vectors of another length", 422, "the model takes [n, 2]", lambda: client.infer(
        model, [tensor(np.zeros((1, dimension + 1), np.float32), "FP32")]))
    refused("a parameter that is none", 422, "is not a parameter", lambda: client.infer(
        model, [tensor(points, "FP32")], parameters={"sede": 3}))
    refused("an int32 tensor", 422, "datatype", lambda: client.infer(
        model, [tensor(np.zeros((1, dimension), np.int32), "INT32")]))


def check_images(client, url, model):
    metadata = client.get_model_metadata(model)
    shape = tuple(metadata["inputs"][0]["shape"][1:])
    check("metadata of images", [output["name"] for output in metadata["outputs"]] == ["output", "pixels", "image"],
          metadata)
    pixels = np.random.default_rng(2).integers(0, 256, (2, *shape), dtype=np.uint8)
    files = [png(one) for one in pixels]
    numbers = np.load(io.BytesIO(
        own(url, f"/v1/transfer?model={model}&seed=5", files[0], "application/x-npy")))
    picture = own(url, f"/v1/transfer?model={model}&seed=5", files[0], "image/png")
    for binary in (True, False):
        way = "binary" if binary else "JSON"
        reply = client.infer(model, [tensor(pixels[:1], "UINT8", binary)], outputs=outputs("output", "pixels"),
                             parameters={"seed": 5})
        check(f"pixels in {way}: what /v1/transfer gives", np.array_equal(reply.as_numpy("output"), numbers))
        check(f"pixels in {way}: pixels out", np.abs(
            reply.as_numpy("pixels") - np.clip(127.5 * (numbers + 1), 0, 255)).max() <= 0.501)
    reply = client.infer(model, [tensor(pixels / np.float32(127.5) - np.float32(1), "FP32")],
                         outputs=outputs("pixels"), parameters={"seed": 5})
    check("images as FP32", reply.as_numpy("pixels").shape == pixels.shape)
    reply = client.infer(model, [tensor(np.array(files, dtype=np.object_), "BYTES")],
                         outputs=outputs("output", "image"), parameters={"seed": 5})
    check("files in, two of everything out", len(reply.as_numpy("image")) == 2
          and reply.as_numpy("output").shape == pixels.shape)
    check("the first of two is as one alone", np.array_equal(reply.as_numpy("output")[:1], numbers))
    reply = client.infer(model, [tensor(np.array(files[:1], dtype=np.object_), "BYTES")],
                         outputs=outputs("image"), parameters={"seed": 5})
    check("a file out: the very bytes of /v1/transfer", reply.as_numpy("image")[0] == picture)
    for name, magic in (("jpeg", b"\xff\xd8"), ("webp", b"RIFF")):
        reply = client.infer(model, [tensor(pixels[:1], "UINT8")], outputs=outputs("image"),
                             parameters={"seed": 5, "format": name, "quality": 80})
        check(f"a file out: {name}", reply.as_numpy("image")[0].startswith(magic))
    for priority in (1, 2):
        reply = client.infer(model, [tensor(np.array(files[:1], dtype=np.object_), "BYTES")],
                             outputs=outputs("output"), priority=priority, parameters={"seed": 5})
        check(f"priority {priority}: the same numbers", np.array_equal(reply.as_numpy("output"), numbers))
    refused("a timeout in microseconds", 504, "", lambda: client.infer(
        model, [], timeout=1000, parameters={"operation": "generate", "n": 32, "seed": 1, "solver": "euler", "steps": 1000}))
    refused("a file that is no image", 415, "", lambda: client.infer(
        model, [tensor(np.array([b"nothing"], dtype=np.object_), "BYTES")]))
    check_whole(url, model, files[0], numbers)


def check_whole(url, model, file, numbers):
    """A body that is the input and nothing else."""
    request = urllib.request.Request(f"{url}/v2/models/{model}/infer?seed=5", data=file, method="POST",
                                     headers={"Inference-Header-Content-Length": "0"})
    with urllib.request.urlopen(request) as reply:
        result = triton.InferenceServerClient.parse_response_body(
            reply.read(), header_length=int(reply.headers["Inference-Header-Content-Length"]))
    check("the body is the input", np.array_equal(result.as_numpy("output"), numbers))


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    url, image_model, vector_model = sys.argv[1].rstrip("/"), *sys.argv[2:]
    client = triton.InferenceServerClient(url=url.split("://", 1)[-1])
    check_server(client, image_model)
    check_vectors(client, url, vector_model)
    check_images(client, url, image_model)
    check_repository(client, vector_model)
    client.close()


main()
