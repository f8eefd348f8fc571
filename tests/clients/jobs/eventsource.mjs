// SPDX-License-Identifier: Apache-2.0
// Follows the events of a job with an EventSource, through a proxy that cuts the connection again and again, and holds what came
// against the list of all events: none may be lost, doubled, changed or out of order.
//
//   node eventsource.mjs SERVER JOB [SECONDS]     http://127.0.0.1:8080 job_... [60]
//
// A JSON line at the end, and 0 or 1.
import { isDeepStrictEqual } from 'node:util';
import { EventSource } from 'eventsource';
import { startCuttingProxy } from './cutting_proxy.mjs';

const TYPES = ['state', 'metrics', 'checkpoint', 'preview', 'message'];
const ENDS = ['succeeded', 'failed', 'cancelled'];
const [server, job, seconds = '60'] = process.argv.slice(2);
const proxy = await startCuttingProxy(Number(new URL(server).port), { retry: 20 });

function finish(result) {
  console.log(JSON.stringify({ job, connections: proxy.connections(), cuts: proxy.cuts(), ...result }));
  process.exit('error' in result ? 1 : 0);
}

// Until the server says that there is nothing more: 204, after which no EventSource comes back.
function follow() {
  return new Promise((resolve) => {
    const events = [];
    const source = new EventSource(`http://127.0.0.1:${proxy.port}/v1/jobs/${job}/events`);
    for (const type of TYPES) {
      source.addEventListener(type, (event) =>
        events.push({ id: event.lastEventId, type, body: JSON.parse(event.data) }));
    }
    source.addEventListener('error', (event) => {
      if (source.readyState !== EventSource.CLOSED) return;
      if (event.code === 204) resolve(events);
      else finish({ error: `the stream ended with ${event.code} ${event.message}` });
    });
  });
}

async function list() {
  const events = [];
  for (let after = '0', more = true; more; after = events.at(-1)?.id ?? after) {
    const answer = await fetch(`${server}/v1/jobs/${job}/events?limit=1000&after=${after}`, {
      headers: { Accept: 'application/json' },
    });
    const page = await answer.json();
    events.push(...page.data);
    more = page.has_more;
  }
  return events;
}

setTimeout(() => finish({ error: `no end in ${seconds} seconds` }), Number(seconds) * 1000);
const streamed = await follow();
const listed = await list();
const end = listed.findIndex((event) => event.type === 'state' && ENDS.includes(event.data.status));
if (end < 0) finish({ error: 'the list has no end' });
// what is said after the end (of webhooks) may have come or not
if (streamed.length <= end || streamed.length > listed.length)
  finish({
    error: `${streamed.length} events came; ${listed.length} are listed, with the end at ${end}`,
    streamed: streamed.map((event) => event.id),
    listed: listed.map((event) => event.id),
  });
streamed.forEach((event, index) => {
  const wanted = listed[index];
  if (event.id !== wanted.id || event.type !== wanted.type || !isDeepStrictEqual(event.body, wanted))
    finish({ error: `event ${index} is another one`, event, wanted });
});
if (proxy.cuts() < 5) finish({ error: 'the connection was hardly cut' });
finish({ events: streamed.length });
