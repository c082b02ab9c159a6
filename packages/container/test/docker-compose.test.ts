// Docker Compose against the engine's Docker-compatible API: a project comes up, grows without being made anew, and goes.

import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BUSYBOX, noApi, type Ran, ServedEngine } from './docker-api.ts';

const COMPOSE = '/usr/bin/docker-compose';
const noCompose = noApi ?? (existsSync(COMPOSE) ? undefined : 'docker-compose is not installed');
if (noCompose !== undefined && process.env.CI === 'true') throw new Error(noCompose);

// A busy machine takes its time.
const PATIENT = { timeout: 30_000, interval: 200 };

const PROJECT = `version: "2.4"
services:
  web:
    image: ${BUSYBOX}
    command: sh -c "mkdir -p /www; echo welcome > /www/index.html; httpd -f -p 80 -h /www"
    ports: ["80"]
    environment: { COLOUR: green }
    volumes: ["data:/data"]
  client:
    image: ${BUSYBOX}
    command: sh -c "until wget -q -O- http://web/; do sleep 0.1; done; sleep 1000"
    depends_on: [web]
    stop_grace_period: 0s
volumes:
  data: {}
`;

let served: ServedEngine;
let directory: string;

beforeAll(async () => {
  if (noCompose !== undefined) return;
  served = await ServedEngine.start();
  directory = join(served.home, 'shop');
  await mkdir(directory);
  await writeFile(join(directory, 'docker-compose.yml'), PROJECT);
}, 60_000);

afterAll(async () => {
  await served?.[Symbol.asyncDispose]();
}, 60_000);

async function compose(...args: string[]): Promise<Ran> {
  const result = await served.docker(COMPOSE, ['-f', join(directory, 'docker-compose.yml'), ...args]);
  expect(result.code, `docker-compose ${args.join(' ')}: ${result.stderr}`).toBe(0);
  return result;
}

describe.skipIf(noCompose !== undefined)('docker-compose', () => {
  it('up, port, logs, exec, scale and down -v', async () => {
    await compose('up', '-d');
    const address = (await compose('port', 'web', '80')).stdout.trim();
    await expect
      .poll(async () => await (await fetch(`http://${address}/`)).text(), PATIENT)
      .toBe('welcome\n');
    await expect.poll(async () => (await compose('logs', 'client')).stdout, PATIENT).toContain('welcome');
    expect((await compose('exec', '-T', 'web', 'sh', '-c', 'echo $COLOUR')).stdout.trim()).toBe('green');
    const before = (await compose('ps', '-q', 'web')).stdout;
    await compose('up', '-d', '--scale', 'client=2');
    expect((await compose('ps', '-q', 'client')).stdout.trim().split('\n')).toHaveLength(2);
    expect((await compose('ps', '-q', 'web')).stdout).toBe(before);
    await compose('down', '-v', '-t', '1');
    expect(await served.engine.runtime.list()).toEqual([]);
    expect((await served.engine.networks.list()).map(({ name }) => name)).toEqual(['bridge']);
  }, 120_000);
});
