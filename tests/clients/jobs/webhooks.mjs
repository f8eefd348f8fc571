// SPDX-License-Identifier: Apache-2.0
// Receives webhooks on loopback and has the library of Standard Webhooks verify them.
//
//   node webhooks.mjs --secret-file FILE --port-file FILE [--count 1] [--refuse 0] [--seconds 60]
//
// A JSON line for each delivery. The first --refuse of them are verified, too, but answered with 500, so that they come again.
// Ends with 0 once --count were accepted; with 1 when one does not verify, a changed one does, an id stands for two events, or the
// time is over.
import { createServer } from 'node:http';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Webhook } from 'standardwebhooks';

const { values: options } = parseArgs({
  options: {
    'secret-file': { type: 'string' },
    'port-file': { type: 'string' },
    count: { type: 'string', default: '1' },
    refuse: { type: 'string', default: '0' },
    seconds: { type: 'string', default: '60' },
  },
});
const webhook = new Webhook(readFileSync(options['secret-file'], 'utf8').trim());
const count = Number(options.count);
let toRefuse = Number(options.refuse);
let accepted = 0;
const jobs = new Map(); // the job and type of each id

function fail(message) {
  console.log(JSON.stringify({ error: message }));
  process.exit(1);
}

function verifies(body, headers) {
  try {
    webhook.verify(body, headers);
    return true;
  } catch {
    return false;
  }
}

// What must not pass, with the headers of one that did.
function checkChanges(body, headers) {
  const changed = Buffer.from(body);
  changed[changed.length >> 1] ^= 1;
  if (verifies(changed.toString('latin1'), headers)) fail('a changed body verifies');
  if (verifies(body, { ...headers, 'webhook-id': `${headers['webhook-id']}x` })) fail('another id verifies');
  const later = String(Number(headers['webhook-timestamp']) + 1);
  if (verifies(body, { ...headers, 'webhook-timestamp': later })) fail('another time verifies');
}

function take(request, body) {
  const id = request.headers['webhook-id'];
  if (request.method !== 'POST' || request.headers['content-type'] !== 'application/json') fail('it is no POST of JSON');
  if (body.length >= 20000) fail(`the body has ${body.length} bytes`);
  if (!verifies(body, request.headers)) fail(`${id} does not verify`);
  checkChanges(body, request.headers);
  const event = JSON.parse(body);
  if (Number.isNaN(Date.parse(event.timestamp))) fail(`${event.timestamp} is no time`);
  const what = `${event.data.id} ${event.type}`;
  const again = jobs.has(id);
  if (again && jobs.get(id) !== what) fail(`${id} stands for ${jobs.get(id)} and ${what}`);
  jobs.set(id, what);
  const refused = toRefuse > 0;
  if (refused) toRefuse -= 1;
  else accepted += 1;
  console.log(JSON.stringify({ id, type: event.type, job: event.data.id, bytes: body.length, again, verified: true,
    answer: refused ? 500 : 204 }));
  return refused ? 500 : 204;
}

const server = createServer((request, response) => {
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', () => {
    response.writeHead(take(request, Buffer.concat(pieces).toString('utf8')), { Connection: 'close' });
    response.end(() => {
      // not at once: the other side shall have read the answer
      if (accepted === count) setTimeout(() => process.exit(0), 500);
    });
  });
});
server.listen(0, '127.0.0.1', () => {
  writeFileSync(`${options['port-file']}.new`, `${server.address().port}\n`);
  renameSync(`${options['port-file']}.new`, options['port-file']);
});
setTimeout(() => fail(`${accepted} of ${count} came in ${options.seconds} seconds`), Number(options.seconds) * 1000);
