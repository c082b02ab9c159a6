// `heptad image push` and `pull` as a user types them, against a real registry.

import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ImageStore } from '@heptad/container';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  noRegistry,
  type Registry,
  startRegistry,
} from '../../../packages/container/test/registry-support.ts';
import { makeImage } from '../../../packages/container/test/small-image.ts';
import { temporaryDirectory } from '../../../packages/container/test/support.ts';
import { platformPaths } from '../src/config.ts';

const CLI = join(import.meta.dirname, '..', 'src', 'cli', 'main.ts');

describe.skipIf(noRegistry !== undefined)('heptad image', () => {
  let home = '';
  let registry: Registry;
  let digest = '';
  const name = (): string => `${registry.host}/team/app:1`;

  /** Runs the command with a home of its own; a failure is returned, not thrown. */
  const heptad = async (store: string, ...args: string[]) => {
    const environment = { ...process.env, HEPTAD_HOME: join(home, store), DOCKER_CONFIG: home };
    return await promisify(execFile)(process.execPath, ['--conditions=heptad-source', CLI, ...args], {
      env: environment,
    }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );
  };

  beforeAll(async () => {
    home = await temporaryDirectory();
    registry = await startRegistry(home, { tls: true });
    const images = await ImageStore.open({ home: platformPaths(join(home, 'one')).images });
    ({ digest } = await makeImage(images, { name: name(), layers: [{ a: '1' }, { b: '2' }] }));
  });

  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  it('push says what it would send, sends it, and pull brings it to another machine', async () => {
    const planned = await heptad('one', 'image', 'push', name(), '--ca', registry.caPath, '--dry-run');
    expect(planned.stderr).toMatch(/would send 3 blobs/);
    expect((await heptad('two', 'image', 'pull', name(), '--ca', registry.caPath)).code).toBe(3);

    const pushed = await heptad('one', 'image', 'push', name(), '--ca', registry.caPath);
    expect(pushed).toMatchObject({ code: 0, stdout: `${name()}@${digest}\n`.replace(/@.*@/, '@') });
    const pulled = await heptad('two', 'image', 'pull', name(), '--ca', registry.caPath, '--json');
    expect(pulled.code, pulled.stderr).toBe(0);
    expect(JSON.parse(pulled.stdout)).toMatchObject({ name: name(), digest });
    expect(pulled.stderr).toMatch(/fetched/);
    const listed = JSON.parse((await heptad('two', 'image', 'ls', '--json')).stdout);
    expect(listed).toMatchObject([{ name: name(), digest }]);
  });

  it('pull names what is wrong and what to do', async () => {
    const untrusted = await heptad('three', 'image', 'pull', name());
    expect(untrusted).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/certificate is not trusted[\s\S]*hint:.*--ca/),
    });
    const malformed = await heptad('three', 'image', 'pull', 'Not A Name');
    expect(malformed).toMatchObject({ code: 1, stderr: expect.stringMatching(/not an image reference/) });
    const foreign = await heptad(
      'three',
      'image',
      'pull',
      name(),
      '--ca',
      registry.caPath,
      '--platform',
      'linux/s390x',
    );
    expect(foreign).toMatchObject({ code: 1, stderr: expect.stringMatching(/not for linux\/s390x/) });
  });
});
