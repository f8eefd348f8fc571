// SPDX-License-Identifier: Apache-2.0
// What proxy.js has seen, all proxies together: status 1 when there was a violation, or nothing to see.
'use strict';

const lines = require('fs').readFileSync(process.argv[2], 'utf8').split('\n').filter(line => line !== '').map(line => JSON.parse(line));
const total = { exchanges: 0, outside: 0, streams: 0 };
const operations = new Set();
const violations = new Map();
for (const { seen, violation, status, faults } of lines) {
  if (seen) {
    for (const name of Object.keys(total)) total[name] += seen[name];
    Object.keys(seen.operations).forEach(name => operations.add(name));
    continue;
  }
  const what = faults.map(fault => `${fault.of} ${(fault.path || []).join('.')}: ${fault.message}`).join('; ');
  const key = `${violation.replace(/\?.*/, '')} ${status}: ${what}`;
  violations.set(key, (violations.get(key) || 0) + 1);
}
for (const [key, count] of violations) console.log(`${count}x ${key}`);
console.log(`${total.exchanges} exchanges of ${operations.size} operations, ${total.outside} of no operation, ${total.streams} streams; ` +
  `${violations.size} kinds of violations`);
process.exit(violations.size > 0 || total.exchanges === 0 ? 1 : 0);
