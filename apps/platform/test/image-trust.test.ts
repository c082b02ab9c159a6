// `heptad image build`, `sbom`, `keygen`, `sign` and `verify` as a user types them, with the exit codes that scripts rely on.

import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../../../packages/container/test/support.ts';
import { platformPaths } from '../src/config.ts';

const CLI = join(import.meta.dirname, '..', 'src', 'cli', 'main.ts');

describe('heptad image', () => {
  let home = '';

  const heptad = async (args: readonly string[], environment: Record<string, string> = {}) =>
    await promisify(execFile)(process.execPath, ['--conditions=heptad-source', CLI, ...args], {
      cwd: home,
      env: { ...process.env, HEPTAD_HOME: join(home, 'heptad'), ...environment },
    }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );

  beforeAll(async () => {
    home = await temporaryDirectory();
    await mkdir(join(home, 'app'));
    await writeFile(join(home, 'app', 'server.js'), 'console.log("up")');
    await writeFile(
      join(home, 'app', 'package.json'),
      '{"name":"demo","version":"1.2.3","license":"MIT","scripts":{"start":"node server.js"}}',
    );
  });

  afterAll(async () => {
    await rm(home, { recursive: true, force: true });
  });

  it('build says what it does, and makes the same image again', async () => {
    const planned = await heptad(['image', 'build', 'app', '-t', 'demo:1', '--dry-run']);
    expect(planned).toMatchObject({ code: 0, stderr: expect.stringContaining('runs /app/server.js') });
    expect((await heptad(['image', 'inspect', 'demo:1'])).code).toBe(3);
    const first = await heptad(['image', 'build', 'app', '-t', 'demo:1', '--label', 'team=shop']);
    expect(first.code, first.stderr).toBe(0);
    expect(first.stdout).toMatch(/^demo:1@sha256:[0-9a-f]{64}\n$/);
    expect(first.stderr).toMatch(/runs \/app\/server.js \(the start script/);
    const again = await heptad(['image', 'build', 'app', '-t', 'demo:1', '--label', 'team=shop']);
    expect(again.stdout).toBe(first.stdout);
    expect((await heptad(['image', 'build', 'nowhere', '-t', 'x'])).code).toBe(3);
    expect(await heptad(['image', 'build', 'app', '-t', 'x', '--label', 'team'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('write --label KEY=VALUE'),
    });
  });

  it('sbom lists what is in it, and gives the document', async () => {
    const table = await heptad(['image', 'sbom', 'demo:1']);
    expect(table.stdout).toMatch(/application +demo +1\.2\.3 +MIT/);
    const document: unknown = JSON.parse((await heptad(['image', 'sbom', 'demo:1', '--json'])).stdout);
    expect(document).toMatchObject({ bomFormat: 'CycloneDX', specVersion: '1.6' });
  });

  it('keygen makes a pair and never writes over one', async () => {
    const password = { COSIGN_PASSWORD: 'pw' };
    expect((await heptad(['image', 'keygen', '--output', 'team'], password)).code).toBe(0);
    expect((await stat(join(home, 'team.key'))).mode & 0o777).toBe(0o600);
    const before = await readFile(join(home, 'team.key'), 'utf8');
    expect(await heptad(['image', 'keygen', '--output', 'team'], password)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('there already'),
    });
    expect(await readFile(join(home, 'team.key'), 'utf8')).toBe(before);
    await heptad(['image', 'keygen', '--output', 'other'], password);
  });

  it('sign and verify, with exit code 4 for what is not trusted', async () => {
    const verify = ['image', 'verify', 'demo:1', '--key', 'team.pub'];
    expect(await heptad(verify)).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('has no signature'),
    });
    const sign = ['image', 'sign', 'demo:1', '--key', 'team.key', '-a', 'stage=live'];
    expect((await heptad(sign, { COSIGN_PASSWORD: 'wrong' })).stderr).toContain('password is wrong');
    expect((await heptad(sign, { COSIGN_PASSWORD: 'pw' })).code).toBe(0);
    expect(await heptad([...verify, '-a', 'stage=live'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^sha256:/),
    });
    expect((await heptad([...verify, '-a', 'stage=test'])).code).toBe(4);
    expect((await heptad(['image', 'verify', 'demo:1', '--key', 'other.pub'])).code).toBe(4);
  });

  it('a policy decides what runs', async () => {
    const policy = join(platformPaths(join(home, 'heptad')).images, 'trust.json');
    const require = (key: string): object => ({
      version: 1,
      rules: [{ prefix: 'demo', action: 'require-signature', keys: [join(home, key)] }],
    });
    await writeFile(policy, JSON.stringify(require('team.pub')));
    expect((await heptad(['image', 'verify', 'demo:1'])).stderr).toMatch(/its rule for demo: 1 signature/);
    expect((await heptad(['run', '--rm', 'demo:1'])).stdout).toContain('up');
    await writeFile(policy, JSON.stringify(require('other.pub')));
    expect(await heptad(['run', '--rm', 'demo:1'])).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('is not trusted'),
    });
    await writeFile(policy, '{"version":1,"default":{"action":"deny"}}');
    expect((await heptad(['image', 'pull', 'registry.invalid/x'])).code).toBe(4);
  });
});
