// SPDX-License-Identifier: Apache-2.0
// The OpenAI SDK against a running efmd: images, models, and errors as the classes that its users catch.
//
//     node check.mjs URL IMAGE_MODEL VECTOR_MODEL [QUEUE]
//
// QUEUE: requests that the daemon admits (--queue), which are then filled; without it that check is left out. The SDK is looked
// for from the present folder on, and in NODE_PATH. One line a check; the first that fails ends it with status 1.

import { deflateSync } from "node:zlib";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const OpenAI = require("openai");

const [url, imageModel, vectorModel, queue] = process.argv.slice(2);
if (!vectorModel) {
  console.error("usage: node openai.mjs URL IMAGE_MODEL VECTOR_MODEL [QUEUE]");
  process.exit(2);
}
const client = new OpenAI({ baseURL: url.replace(/\/$/, "") + "/v1", apiKey: process.env.OPENAI_API_KEY ?? "none", maxRetries: 0 });

function check(what, good, detail) {
  console.log(`${good ? "ok" : "FAILED"}  ${what}${!good && detail !== undefined ? ": " + JSON.stringify(detail) : ""}`);
  if (!good) process.exit(1);
}

async function refused(what, kind, words, call) {
  try {
    await call();
  } catch (error) {
    check(what, error instanceof kind && error.message.includes(words), `${error.name} ${error.message}`);
    check(`${what}: it has a request id`, typeof error.requestID === "string" && error.requestID.length > 0);
    return error;
  }
  check(what, false, "there was no error");
}

function crc(bytes) {
  let value = ~0;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}

function chunk(kind, data) {
  const body = Buffer.concat([Buffer.from(kind), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

// A picture of one colour.
function png(side, colour) {
  const head = Buffer.from([0, 0, 0, side, 0, 0, 0, side, 8, 2, 0, 0, 0]);
  const row = Buffer.from([0, ...Array(side).fill(colour).flat()]);
  const rows = deflateSync(Buffer.concat(Array(side).fill(row)));
  const start = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([start, chunk("IHDR", head), chunk("IDAT", rows), chunk("IEND", Buffer.alloc(0))]);
}

const file = (bytes, name = "one.png") => OpenAI.toFile(bytes, name, { type: "image/png" });
const bytesOf = (image) => Buffer.from(image.b64_json, "base64");

async function checkModels() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  check("models.list", ids.includes(imageModel) && ids.includes(vectorModel), ids);
  const model = await client.models.retrieve(imageModel);
  check("models.retrieve", model.id === imageModel && model.object === "model" && Number.isInteger(model.created), model);
  await refused("models.retrieve of no such model", OpenAI.NotFoundError, "no-such-model", () =>
    client.models.retrieve("no-such-model"));
}

async function checkEdits() {
  const one = png(8, [200, 30, 30]);
  const own = await fetch(`${url}/v1/transfer?model=${imageModel}&seed=7`, { method: "POST", body: one });
  const expected = Buffer.from(await own.arrayBuffer());
  const same = { model: imageModel, prompt: "a two", seed: 7 };
  const edited = await client.images.edit({ ...same, image: await file(one) });
  check("images.edit: the very bytes of /v1/transfer", bytesOf(edited.data[0]).equals(expected));
  check("images.edit: created, format, size, seed", Math.abs(edited.created - Date.now() / 1000) < 60 &&
    edited.output_format === "png" && /^\d+x\d+$/.test(edited.size) && edited.seed === 7, { ...edited, data: 0 });
  const many = await client.images.edit({ ...same, n: 2, size: edited.size, quality: "auto", background: "auto",
    response_format: "b64_json", user: "me", image: [await file(one), await file(png(8, [10, 10, 240]), "two.png")] });
  check("images.edit: two images, n = 2", many.data.length === 4);
  const jpeg = await client.images.edit({ ...same, output_format: "jpeg", output_compression: 80, image: await file(one) });
  check("images.edit: jpeg", bytesOf(jpeg.data[0]).readUInt16BE(0) === 0xffd8 && jpeg.output_format === "jpeg");
  const webp = await client.images.edit({ ...same, output_format: "webp", image: await file(one) });
  check("images.edit: webp", bytesOf(webp.data[0]).toString("latin1", 0, 4) === "RIFF");
  await refused("images.edit with a mask", OpenAI.BadRequestError, "mask", async () =>
    client.images.edit({ ...same, image: await file(one), mask: await file(one) }));
  await refused("images.edit of what is no image", OpenAI.APIError, "", async () =>
    client.images.edit({ ...same, image: await file(Buffer.from("nothing")) }));
  await refused("images.edit by no such model", OpenAI.NotFoundError, "no-such-model", async () =>
    client.images.edit({ ...same, model: "no-such-model", image: await file(one) }));
}

async function checkGenerations() {
  const asked = { model: imageModel, prompt: "anything", n: 3, seed: 11, direction: "forward" };
  const made = await client.images.generate(asked);
  const again = await client.images.generate(asked);
  check("images.generate: three PNG", made.data.length === 3 && made.data.every((image) => bytesOf(image).readUInt32BE(0) === 0x89504e47));
  check("images.generate: the same seed, the same bytes", JSON.stringify(made.data) === JSON.stringify(again.data));
  const wrong = [["size", "1024x1024"], ["response_format", "url"], ["quality", "hd"], ["background", "transparent"],
    ["style", "vivid"], ["output_format", "gif"], ["stream", true]];
  for (const [name, value] of wrong)
    await refused(`images.generate with ${name} ${value}`, OpenAI.BadRequestError, name, () =>
      client.images.generate({ ...asked, [name]: value }));
  await refused("images.generate with a seed that is none", OpenAI.UnprocessableEntityError, "seed", () =>
    client.images.generate({ ...asked, seed: -1 }));
  await refused("images.generate of vectors", OpenAI.UnprocessableEntityError, "vectors", () =>
    client.images.generate({ model: vectorModel, prompt: "" }));
}

// Long requests until the queue is full; they end when they are given up.
async function checkFull(size) {
  const end = new AbortController();
  const asked = { model: imageModel, prompt: "", n: 8, solver: "euler", steps: 1000 };
  const tries = Array.from({ length: size + 4 }, () =>
    client.images.generate(asked, { signal: end.signal }).then(() => null, (error) => {
      if (error instanceof OpenAI.RateLimitError) end.abort();
      return error;
    }));
  const errors = (await Promise.all(tries)).filter((error) => error instanceof OpenAI.RateLimitError);
  check("a full queue is a RateLimitError", errors.length > 0);
  check("which says when to come again", Number(errors[0].headers.get("retry-after")) >= 1);
}

await checkModels();
await checkEdits();
await checkGenerations();
if (queue) await checkFull(Number(queue));
