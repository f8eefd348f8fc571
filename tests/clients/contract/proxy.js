// SPDX-License-Identifier: Apache-2.0
// Prism between a test and its daemon: every exchange is held against the contract that the daemon itself gives.
//
//   proxy.js PORT_FILE [LOG]     NODE_PATH names the folder with prism
//
// Its own port is for orders: POST /?upstream=URL&port_file=FILE opens a port before that daemon and writes its number to FILE. One
// process serves all daemons, for prism takes seconds to start.
//
// `prism proxy` takes bodies for text and writes JSON and queries anew, which images and tests of exact bytes do not outlive.
// So prism's engine (its router, and its validators of security, requests and answers) runs here with a forwarder that passes
// on the bytes as they came. An answer that breaks the contract is replaced by a 502 that says how; so is one that grants
// what the contract refuses. LOG gets a line of JSON for each violation, and a last one with what was seen.
'use strict';

const fs = require('fs');
const http = require('http');
const { createInstance, getHttpOperationsFromSpec } = require('@stoplight/prism-http');

const TE = require('fp-ts/TaskEither');
const E = require('fp-ts/Either');

const [portFile, logFile] = process.argv.slice(2);
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade', 'expect']);

const seen = { exchanges: 0, outside: 0, streams: 0, operations: {} };

function log(entry) {
  if (logFile) fs.appendFileSync(logFile, JSON.stringify(entry) + '\n');
}

// ---- the document, stricter than it is given: an answer has no member that is not described

function closeAnswers(document) {
  const closed = new Set();
  const close = schema => {
    if (schema === null || typeof schema !== 'object' || closed.has(schema)) return;
    closed.add(schema);
    if (schema.$ref) {
      close(schema.$ref.slice(2).split('/').reduce((place, name) => place[name], document));
      return;
    }
    if (schema.properties && schema.additionalProperties === undefined) schema.additionalProperties = false;
    for (const part of [schema.items, schema.additionalProperties, ...(schema.anyOf || []), ...Object.values(schema.properties || {})])
      close(part);
  };
  for (const item of Object.values(document.paths))
    for (const operation of Object.values(item))
      for (const answer of Object.values(operation.responses || {}))
        for (const media of Object.values(answer.content || {})) close(media.schema);
  return document;
}

// ---- what prism sees of a body

function isJson(type) {
  return /^application\/([\w.-]+\+)?json\b/i.test(type || '');
}

function bodyFor(bytes, type) {
  if (bytes.length === 0) return undefined;
  if (isJson(type)) {
    try {
      return JSON.parse(bytes.toString('utf8'));
    } catch (error) {
      return bytes.toString('latin1');
    }
  }
  return bytes.toString('latin1');
}

// The daemon tells what a body is by its bytes where clients send no type, or that of a form that it is not.
function typeFor(headers, bytes) {
  const type = headers['content-type'];
  if (bytes.length === 0 || (type && !/^(application\/x-www-form-urlencoded|text\/plain)/i.test(type))) return type;
  return /^\s*\{/.test(bytes.subarray(0, 64).toString('latin1')) ? 'application/json' : 'application/octet-stream';
}

function queryFor(parameters) {
  const query = {};
  for (const name of parameters.keys()) {
    const values = parameters.getAll(name);
    query[name] = values.length === 1 ? values[0] : values;
  }
  return query;
}

// ---- one exchange

const CONFIGURATION = {
  isProxy: true, validateRequest: true, validateResponse: true, checkSecurity: true, errors: false, mock: false,
};
const quiet = { child: () => quiet };
for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'success', 'start']) quiet[level] = () => {};

// Names with all their values as they came, without those that belong to one connection.
function passedHeaders(raw) {
  const passed = {};
  for (let i = 0; i < raw.length; i += 2)
    if (!HOP_BY_HOP.has(raw[i].toLowerCase())) (passed[raw[i]] = passed[raw[i]] || []).push(raw[i + 1]);
  for (const name of Object.keys(passed)) if (passed[name].length === 1) passed[name] = passed[name][0];
  return passed;
}

function readAll(stream) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    stream.on('data', chunk => chunks.push(chunk));
    stream.on('end', () => resolve(Buffer.concat(chunks)));
    stream.on('error', reject);
    stream.on('aborted', () => reject(new Error('cut off')));
  });
}

// Passes the request on while it comes; the answer, whole, which may be there before all of the request is. Events go to the
// client as they come, and then `bytes` are none. `chunks` gets the body of the request.
function forward(target, request, reply, chunks) {
  return new Promise((resolve, reject) => {
    const headers = passedHeaders(request.rawHeaders);
    if (/^chunked$/i.test(request.headers['transfer-encoding'] || '')) headers['Transfer-Encoding'] = 'chunked';
    const out = http.request({
      host: target.hostname, port: target.port, method: request.method, path: request.url, headers, setHost: false, agent: false,
    });
    out.on('response', answer => {
      const head = { status: answer.statusCode, headers: answer.headers, raw: passedHeaders(answer.rawHeaders) };
      if (!/^text\/event-stream/.test(answer.headers['content-type'] || '')) {
        readAll(answer).then(bytes => resolve({ ...head, bytes }), reject);
        return;
      }
      seen.streams++;
      reply.writeHead(head.status, head.raw);
      reply.flushHeaders();
      answer.pipe(reply);
      answer.on('aborted', () => reply.destroy());
      resolve({ ...head, bytes: Buffer.alloc(0), streamed: true });
    });
    out.on('error', error => {
      request.unpipe(out);
      request.resume();
      reject(error);
    });
    request.on('data', chunk => chunks.push(chunk));
    request.on('aborted', () => out.destroy());
    reply.on('close', () => reply.writableFinished || out.destroy());
    request.pipe(out);
  });
}

// Of a request: nothing when the daemon refused it as well; a media type that is not in the contract is told by its bytes.
function faultsOf(validations, status) {
  const faults = validations.output.map(fault => ({ ...fault, of: 'answer' }));
  if (status < 400)
    faults.push(...validations.input.filter(fault => fault.code !== 415).map(fault => ({ ...fault, of: 'request' })));
  return faults;
}

// What prism says of it; the operation too, unless there is none.
async function validate({ target, operations }, request, bytes, answer) {
  const url = new URL(request.url, 'http://localhost');
  const type = typeFor(request.headers, bytes);
  const input = {
    method: request.method.toLowerCase(),
    url: { path: url.pathname, query: queryFor(url.searchParams) },
    headers: { ...request.headers, ...(type ? { 'content-type': type } : {}) },
    body: bodyFor(bytes, type),
  };
  const output = {
    statusCode: answer.status, headers: answer.headers,
    body: answer.streamed ? '' : bodyFor(answer.bytes, answer.headers['content-type']),
  };
  let operation;
  const forwarder = (exchange, base, proxy, resource) => () => {
    operation = resource && resource.iid;
    return TE.right(output);
  };
  const prism = createInstance({ ...CONFIGURATION, upstream: target }, { logger: quiet, forward: forwarder });
  let outcome;
  try {
    outcome = await prism.request(input, operations)();
  } catch (error) {
    // a Content-Type that cannot be read at all: what is left of the request will do, for the answer is to be looked at
    const { 'content-type': unreadable, ...others } = request.headers;
    outcome = await prism.request({ ...input, headers: others, body: undefined }, operations)();
  }
  if (E.isLeft(outcome)) throw outcome.left;
  return { operation, validations: outcome.right.validations };
}

async function handle(daemon, request, reply) {
  const chunks = [];
  const answer = await forward(daemon.target, request, reply, chunks);
  const { operation, validations } = await validate(daemon, request, Buffer.concat(chunks), answer);
  const faults = operation === undefined ? [] : faultsOf(validations, answer.status);
  // HEAD, OPTIONS, and what is not there
  if (operation === undefined && answer.status < 300 && !['HEAD', 'OPTIONS'].includes(request.method))
    faults.push({ of: 'answer', message: 'the contract has no such operation' });
  seen.exchanges++;
  if (operation === undefined) seen.outside++;
  else seen.operations[operation] = (seen.operations[operation] || 0) + 1;
  if (faults.length > 0)
    log({ violation: `${request.method} ${request.url}`, status: answer.status, faults, body: answer.bytes.toString('latin1').slice(0, 500) });
  if (answer.streamed) return;
  if (faults.length > 0) {
    reply.writeHead(502, { 'Content-Type': 'text/plain' });
    reply.end(`the contract is broken by ${request.method} ${request.url}: ${JSON.stringify(faults)}\n`);
    return;
  }
  reply.writeHead(answer.status, answer.raw);
  reply.end(answer.bytes);
}

// ---- daemons

const documents = new Map(); // of what a document says: most daemons give the same one

function operationsOf(text) {
  if (!documents.has(text)) documents.set(text, getHttpOperationsFromSpec(closeAnswers(JSON.parse(text))));
  return documents.get(text);
}

// Listens on a free port of loopback and writes its number to the file.
function listen(file, answer) {
  const server = http.createServer(answer);
  server.requestTimeout = server.headersTimeout = 0;
  server.keepAliveTimeout = 60000;
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      fs.writeFileSync(file + '.new', String(server.address().port));
      fs.renameSync(file + '.new', file);
      resolve();
    });
  });
}

async function open(upstream, file) {
  const operations = await operationsOf(await (await fetch(`${upstream}/openapi.json`)).text());
  const daemon = { target: new URL(upstream), operations };
  await listen(file, (request, reply) => {
    handle(daemon, request, reply).catch(error => {
      console.error(`proxy: ${request.method} ${request.url}: ${error.stack}`);
      // the daemon closed without an answer, or the client is gone: the client sees a connection that ends
      request.socket.destroy();
    });
  });
}

process.on('SIGTERM', () => {
  log({ seen });
  process.exit(0);
});
listen(portFile, (request, reply) => {
  const order = new URL(request.url, 'http://localhost').searchParams;
  open(order.get('upstream'), order.get('port_file')).then(
    () => reply.end(),
    error => {
      console.error(error);
      reply.writeHead(500);
      reply.end();
    });
}).catch(error => {
  console.error(error);
  process.exit(1);
});
