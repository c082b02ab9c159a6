// Heptad's node proxy in a process of its own, as on a node: argv is its port and the backend's.

import { NodeProxy } from '@heptad/mesh';

const [port, backendPort] = process.argv.slice(2).map(Number);
if (port === undefined || backendPort === undefined) throw new Error('usage: proxy.ts PORT BACKEND_PORT');
const proxy = new NodeProxy();
await proxy.apply({
  revision: 1,
  services: [
    {
      name: 'echo',
      virtualAddress: '127.0.0.1',
      ports: [{ name: 'http', port, protocol: 'TCP' }],
      labels: {},
      mode: 'http',
    },
  ],
  endpoints: [
    {
      service: 'echo',
      version: 1,
      endpoints: [
        { id: 'echo-0', address: '127.0.0.1', ports: { http: backendPort }, weight: 1, state: 'ready' },
      ],
    },
  ],
  policies: [],
  rules: [],
  workloads: {},
});
process.stdout.write(`${port}\n`);
