// A service of a Compose file that asks for a virtual machine gets one, and is reached like any other.

import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerResource } from '@heptad/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { footprint } from './support/machine.ts';
import { ROOT, type TestPlace, testPlace } from './support/platform.ts';
import { eventually } from './support/run.ts';

const SERVER = `
import { createServer } from 'node:http';
import { release } from 'node:os';
createServer((_, response) => response.end(release())).listen(8080);
`;

// An emulated machine on a busy host: its boot, and Node's.
const BOOT_MS = 180_000;

let place: TestPlace;

/** Runs the CLI from source, so that this file needs no build. */
function heptad(...words: string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(
      process.execPath,
      ['--conditions=heptad-source', join(ROOT, 'apps/platform/src/cli/main.ts'), ...words],
      { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...place.environment } },
    );
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    child.stderr.on('data', (chunk) => {
      output += chunk;
    });
    child.on('close', (code) => resolve({ code: code ?? 128, output }));
  });
}

async function replicas(): Promise<ContainerResource[]> {
  const { output } = await heptad('ps', '--json');
  return JSON.parse(output) as ContainerResource[];
}

beforeAll(async () => {
  place = await testPlace();
  const app = join(place.home, 'source');
  await mkdir(app, { recursive: true });
  await writeFile(join(app, 'main.mjs'), SERVER);
  const service = (runtime: string, port: number): object => ({
    build: { context: './source', args: { main: 'main.mjs' } },
    ...(runtime === '' ? {} : { runtime }),
    mem_limit: '256m',
    ports: [`${port}:8080`],
  });
  // YAML is a superset of JSON.
  await writeFile(
    join(place.home, 'compose.yaml'),
    JSON.stringify({
      services: { machine: service('vm', place.shopPort), plain: service('', place.shopPort - 1) },
    }),
  );
  expect((await heptad('up', '--detach')).code).toBe(0);
});

afterAll(async () => {
  await heptad('down');
  await place[Symbol.asyncDispose]();
});

it('runtime: vm makes a virtual machine of a service, beside containers, and ps says so', async () => {
  const applied = await heptad('apply', '-f', join(place.home, 'compose.yaml'));
  expect(applied.code, applied.output).toBe(0);
  const answerAt = async (port: number): Promise<string> => {
    const ask = async (): Promise<string> => {
      const answer = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(10_000) });
      const text = await answer.text();
      if (answer.status !== 200) throw new Error(`${text}\n${(await heptad('ps')).output}`);
      return text;
    };
    return await eventually(ask, (text) => text !== '', BOOT_MS);
  };
  const [machine, plain] = [await answerAt(place.shopPort), await answerAt(place.shopPort - 1)];
  expect(machine).toMatch(/cloud/);
  expect(plain).not.toBe(machine);
  const isolation = Object.fromEntries(
    (await replicas()).map(({ spec, status }) => [spec.service, status.isolation]),
  );
  expect(isolation).toEqual({ machine: 'vm', plain: 'container' });
  const table = (await heptad('ps')).output.split('\n').find((line) => line.startsWith('machine-'));
  expect(table).toMatch(/\bvm\b/);
  expect((await heptad('down')).code).toBe(0);
  expect(footprint(place.home, place.bridge).processes).toEqual([]);
});
