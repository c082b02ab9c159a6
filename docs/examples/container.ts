// A Node app becomes an image, runs isolated, is measured, stopped and removed. Root and runc give full isolation;
// without them `runtime: 'process'` runs the same program as a plain process.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildNodeImage, ContainerEngine } from '@heptad/container';

const home = await mkdtemp(join(tmpdir(), 'example-engine-'));
const app = await mkdtemp(join(tmpdir(), 'example-app-'));
await writeFile(
  join(app, 'main.mjs'),
  `import { hostname } from 'node:os';
   setInterval(() => {}, 1000);
   process.on('SIGTERM', () => { console.log('bye'); process.exit(7); });
   console.log('pid', process.pid, 'on', hostname());`,
);

{
  await using engine = await ContainerEngine.open({ home, network: 'none' });
  const image = await buildNodeImage({
    images: engine.images,
    name: 'hello',
    directory: app,
    main: 'main.mjs',
  });
  console.log('built', image.digest);

  const container = await engine.run({
    name: 'greeter',
    image: 'hello',
    limits: { memoryBytes: 128 * 1024 ** 2, pids: 32 },
  });
  const started = Promise.withResolvers<void>();
  const follow = (async () => {
    for await (const line of container.logs({ follow: true })) {
      console.log('|', line.text);
      started.resolve();
    }
  })();
  await started.promise;
  const { memoryBytes } = await container.stats();
  console.log('uses', Math.round(memoryBytes / 1024 ** 2), 'MiB');

  await container.stop({ graceMs: 5000 });
  const { exitCode } = await container.wait();
  await follow;
  console.log('exit code', exitCode);
  await container.remove();
}
await Promise.all([home, app].map((path) => rm(path, { recursive: true, force: true })));
