// A program of an ordinary user, run by rootless.test.ts: it enters the user namespace and runs containers, telling what it sees.

import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildNodeImage, ContainerEngine, enterRootless, isRootless } from '@heptad/container';
import { errorMessage } from '@heptad/core';

const [, , home = '', step = ''] = process.argv;
await enterRootless();

const say = (key: string, value: unknown): void => {
  process.stdout.write(`${JSON.stringify([key, value])}\n`);
};
const codeOf = (error: unknown): string =>
  typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : errorMessage(error);
const failing = async (key: string, work: () => Promise<unknown>): Promise<void> => {
  say(
    key,
    await work().then(
      () => 'done',
      (error: unknown) => codeOf(error),
    ),
  );
};

say('inside', [process.getuid?.(), isRootless()]);
const engine = await ContainerEngine.open({ home: join(home, 'engine'), runtime: 'oci' });
if (step === 'first') await first();
else await second();
await engine.close();

async function first(): Promise<void> {
  const { reasons, capabilities } = await engine.probe();
  say('reasons', reasons);
  say('limits', [capabilities.limits, capabilities.pause]);
  const app = join(home, 'app');
  await mkdir(app, { recursive: true });
  await writeFile(join(app, 'main.mjs'), '');
  await buildNodeImage({
    images: engine.images,
    name: 'app',
    directory: app,
    main: 'main.mjs',
    tools: ['/bin/sh', '/bin/sleep'],
  });
  const base = { image: 'app', entrypoint: ['node'] } as const;
  const script = `const fs = require('fs'); fs.writeFileSync('/made', ''); fs.rmSync('/app/main.mjs'); fs.chownSync('/made', 1000, 1000);
    console.log(process.getuid(), process.pid, fs.statSync('/made').uid, fs.readdirSync('/proc').filter((n) => /^\\d+$/.test(n)).length < 5);`;
  const once = await engine.run({ ...base, name: 'once', user: '0', command: ['-e', script] });
  const { exitCode } = await once.wait();
  const lines: string[] = [];
  for await (const { text } of once.logs()) lines.push(text);
  say('once', [exitCode, ...lines]);
  await once.remove();
  const port = Number(process.env.TEST_PORT);
  const serve = `require('http').createServer((q, r) => r.end('hello from ' + process.getuid())).listen(8080, '0.0.0.0', () => console.log('ready'))`;
  const server = await engine.run({
    ...base,
    name: 'server',
    user: '1000',
    command: ['-e', serve],
    ports: [{ hostPort: port, containerPort: 8080 }],
    secrets: [{ target: '/run/s', content: 'hush' }],
    mounts: [{ type: 'volume', name: 'data', target: '/data' }],
  });
  for await (const { text } of server.logs({ follow: true })) if (text === 'ready') break;
  say('served', await (await fetch(`http://127.0.0.1:${port}`)).text());
  const session = await server.exec({
    command: ['/bin/sh', '-c', 'sleep 3000 & sleep 3000'],
    timeoutMs: 1_000,
  });
  await failing('exec timeout', () => session.exit);
  await failing('limit', () => engine.run({ ...base, name: 'limited', limits: { memoryBytes: 64 << 20 } }));
  await failing('pause', () => server.pause());
  await failing('stats', () => server.stats());
  await failing('network', () => engine.networks.create({ name: 'x' }));
  await failing('port', () =>
    engine.run({ ...base, name: 'again', ports: [{ hostPort: port, containerPort: 80 }] }),
  );
  say(
    'left',
    (await engine.runtime.list()).map(({ name, pid }) => [name, pid !== undefined]),
  );
}

async function second(): Promise<void> {
  const server = await engine.container('server');
  say('adopted', (await server.inspect()).state);
  const session = await server.exec({
    command: ['node', '-p', "process.getuid() + require('fs').readFileSync('/run/s', 'utf8')"],
  });
  const chunks: Uint8Array[] = [];
  for await (const chunk of session.stdout) chunks.push(chunk);
  say('exec', [await session.exit, Buffer.concat(chunks).toString().trim()]);
  await server.stop({ graceMs: 0 });
  await server.start();
  say('again', (await server.inspect()).state);
  await server.remove({ force: true });
  await rm(join(home, 'app'), { recursive: true, force: true });
  await rm(join(home, 'engine'), { recursive: true, force: true });
}
