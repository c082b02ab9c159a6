// The server behind all contenders: 1 KiB for each request, and a count of them.

import { createServer } from 'node:http';

const body = Buffer.alloc(1_024, 'x');
let served = 0;
const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  if (request.url === '/count') {
    response.end(String(served));
    return;
  }
  served += 1;
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': body.length });
  response.end(body);
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(`${typeof address === 'object' ? address?.port : ''}\n`);
});
