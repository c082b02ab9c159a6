import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readCenterSettings } from './settings.ts';

const GOOD = `
primary: north
centers:
  - { name: north, address: "10.0.0.1:7400", api: "http://10.0.0.1:7070/" }
  - { name: south, address: "10.0.1.1:7400" }
  - { name: west, address: "10.0.2.1:7400", witness: true }
`;

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'centers-'));
  await give(GOOD, 'x'.repeat(44));
});
afterEach(() => rm(directory, { recursive: true }));

async function give(text: string, secret?: string): Promise<void> {
  await writeFile(join(directory, 'centers.yaml'), text);
  if (secret !== undefined) await writeFile(join(directory, 'centers.secret'), secret, { mode: 0o600 });
}

const read = (self = 'north') =>
  readCenterSettings({
    file: join(directory, 'centers.yaml'),
    self,
    secretFile: join(directory, 'centers.secret'),
  });

describe('readCenterSettings', () => {
  it('reads centres, their APIs and the secret', async () => {
    const settings = await read('south');
    expect(settings.self).toBe('south');
    expect(settings.topology.centers.map(({ name }) => name)).toEqual(['north', 'south', 'west']);
    expect(settings.apis.get('north')).toBe('http://10.0.0.1:7070');
    expect(settings.topology.automaticFailover.possible).toBe(true);
  });

  it('names line and column of broken YAML', async () => {
    await give('primary: north\ncenters: [');
    await expect(read()).rejects.toThrow(/centers\.yaml:\d+:\d+/);
  });

  it('refuses an unknown centre, an unknown key and a topology that cannot be, naming them', async () => {
    await expect(read('east')).rejects.toMatchObject({ code: 'UNKNOWN_CENTER' });
    await give(`${GOOD}colour: blue\n`);
    await expect(read()).rejects.toThrow(/colour/);
    await give('primary: north\ncenters:\n  - { name: north, address: "10.0.0.1:7400" }\n');
    await expect(read()).rejects.toMatchObject({ code: 'INVALID_TOPOLOGY' });
  });

  it('refuses a secret that is missing, short, or readable by others, and says how to make one', async () => {
    await give(GOOD, 'short');
    await expect(read()).rejects.toThrow(/shorter than 32 bytes/);
    await give(GOOD, 'x'.repeat(44));
    await chmod(join(directory, 'centers.secret'), 0o644);
    await expect(read()).rejects.toMatchObject({ hint: expect.stringContaining('chmod 600') });
    await rm(join(directory, 'centers.secret'));
    await expect(read()).rejects.toMatchObject({ hint: expect.stringContaining('openssl rand') });
  });
});
