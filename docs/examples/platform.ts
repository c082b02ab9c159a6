// A whole platform of one's own on this machine: deploy a service in two containers, call it, store and read data.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MicroservicePlatform } from '@heptad/platform';

const app = await mkdtemp(join(tmpdir(), 'example-service-'));
await writeFile(
  join(app, 'index.mjs'),
  `import { createServer } from 'node:http';
   import { hostname } from 'node:os';
   const server = createServer((request, response) => response.end(\`hello from \${hostname()}\`));
   server.listen(process.env.PORT, process.env.HOST ?? '0.0.0.0');
   process.on('SIGTERM', () => server.close(() => process.exit(0)));`,
);
{
  await using platform = await MicroservicePlatform.start({
    onProgress: (message) => console.error(message),
  });
  const service = await platform.deployMicroservice({
    name: 'hello',
    directory: app,
    main: 'index.mjs',
    replicas: 2,
    memory: '128m',
  });
  console.log(service.name, 'has', service.spec.replicas, 'replicas');
  for (let call = 0; call < 4; call++) {
    const { status, body } = await platform.serviceCall('hello', '/');
    console.log(status, body);
  }
  await platform.storeData('orders', '1', 'two apples', { consistency: 'strong' });
  console.log(Buffer.from(await platform.readData('orders', '1', { consistency: 'strong' })).toString());
}
await rm(app, { recursive: true });
