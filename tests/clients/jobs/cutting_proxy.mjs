// SPDX-License-Identifier: Apache-2.0
// A TCP proxy on loopback that cuts each connection after some bytes of what the server says, in the middle of whatever that is.
import { connect, createServer } from 'node:net';

// From 40 bytes, within the headers, to a few events; always in the same order, and large enough now and then to get on.
const CUTS = [650, 40, 450, 800, 350, 555, 1100, 500, 2000];

// Resolves to { port, connections(), cuts(), close() }. `retry`, in milliseconds, takes the place of the time that the server asks
// its clients to wait before they come back, so that a test does not wait for long.
export function startCuttingProxy(port, { retry }) {
  let connections = 0;
  let cuts = 0;
  const open = new Set();
  const server = createServer((client) => {
    const limit = CUTS[connections % CUTS.length];
    connections += 1;
    let passed = 0;
    const upstream = connect(port, '127.0.0.1');
    open.add(client).add(upstream);
    client.pipe(upstream);
    upstream.on('data', (piece) => {
      // of the same length, for the sake of chunk sizes
      const text = piece.toString('latin1').replace(/retry: (\d+)/, (all, digits) =>
        `retry: ${String(retry).padStart(digits.length, '0')}`);
      const rest = Buffer.from(text, 'latin1').subarray(0, limit - passed);
      passed += rest.length;
      client.write(rest);
      if (passed >= limit) {
        cuts += 1;
        upstream.destroy();
        client.end(() => client.destroy());
      }
    });
    upstream.on('end', () => client.end());
    for (const [socket, other] of [[client, upstream], [upstream, client]]) {
      socket.on('error', () => {});
      socket.on('close', () => {
        open.delete(socket);
        if (socket === client) other.destroy();
      });
    }
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () =>
      resolve({
        port: server.address().port,
        connections: () => connections,
        cuts: () => cuts,
        close: () => {
          server.close();
          for (const socket of open) socket.destroy();
        },
      }));
  });
}
