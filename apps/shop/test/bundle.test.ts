// What goes into the images: one file a service, which needs nothing beside Node.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from './support/shop.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);

describe('the bundles', () => {
  let directory: string;
  beforeAll(async () => {
    await run('pnpm', ['build'], { cwd: root });
    directory = await mkdtemp(join(tmpdir(), 'heptad-shop-bundle-'));
    for (const file of ['catalog.js', 'orders.js', 'web.js', 'package.json']) {
      await copyFile(join(root, 'dist', file), join(directory, file));
    }
  });
  afterAll(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  it('run alone: web answers, catalog and orders say which facility is missing', async () => {
    for (const service of ['catalog', 'orders']) {
      const ended = run(process.execPath, [join(directory, `${service}.js`)], { env: {}, cwd: directory });
      await expect(ended).rejects.toMatchObject({
        code: 1,
        stdout: expect.stringContaining('HEPTAD_SERVER is not set'),
      });
    }
    const env = { HOST: '127.0.0.1', PORT: '0', DRAIN_MS: '0' };
    const web = execFile(process.execPath, [join(directory, 'web.js')], { env, cwd: directory });
    let log = '';
    web.stdout?.on('data', (chunk: string) => {
      log += chunk;
    });
    await eventually(async () => log.includes('"message":"listening"'), 'web listens');
    const port = /"port":(\d+)/.exec(log)?.[1];
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
    const page = await fetch(`http://127.0.0.1:${port}/`);
    expect(page.status).toBe(503);
    expect(await page.text()).toContain('the catalog service cannot be reached');
    web.kill('SIGTERM');
    await once(web, 'exit');
    expect(web.exitCode).toBe(0);
  });
});
