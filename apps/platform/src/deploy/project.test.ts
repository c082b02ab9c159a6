import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { manifestOf, PROJECT_LABEL, readProject } from './project.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'heptad-project-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

it('makes a manifest of a Compose file: variables, env files and the label of the project', async () => {
  await writeFile(join(directory, 'web.env'), 'GREETING=hello\n');
  await writeFile(
    join(directory, 'compose.yaml'),
    'name: demo\nservices:\n  web:\n    image: web:$' +
      '{TAG}\n    env_file: web.env\n    deploy: { replicas: 2 }\n',
  );
  const manifest = manifestOf(await readProject(join(directory, 'compose.yaml'), { TAG: '7' }));
  expect(manifest.project).toBe('demo');
  expect(manifest.services.map(({ name }) => name)).toEqual(['web']);
  const [web] = manifest.services;
  expect(web?.spec).toMatchObject({ image: 'web:7', replicas: 2, environment: { GREETING: 'hello' } });
  expect(web?.labels[PROJECT_LABEL]).toBe('demo');
});

it('says which file cannot be read, and what to do', async () => {
  const path = join(directory, 'missing.yaml');
  await expect(readProject(path)).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining(path),
    hint: expect.stringContaining('-f'),
  });
});

it('names the problems of a file that is no Compose file', async () => {
  const path = join(directory, 'compose.yaml');
  await writeFile(path, 'services:\n  web: { imagee: x }\n');
  await expect(readProject(path)).rejects.toMatchObject({
    code: 'COMPOSE_INVALID',
    message: expect.stringContaining('imagee'),
  });
});
