// kill -9 in the middle of appending: no acknowledged record is lost, and the log opens and verifies again.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { AuditLog, loadSigningKey, verifyAuditLog } from '@heptad/security';
import { expect, it } from 'vitest';
import { freshDirectory } from './support.ts';

const ROUNDS = 6;

it('loses no acknowledged record to kill -9 and keeps the chain intact', async () => {
  const root = await freshDirectory();
  const directory = join(root, 'log');
  const keyPath = join(root, 'key.pem');
  const signingKey = await loadSigningKey(keyPath);
  let acknowledged = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    acknowledged = Math.max(acknowledged, await appendUntilKilled(directory, keyPath, 50 + round * 37));
    const before = await verifyAuditLog({ directory, key: signingKey });
    expect(before.intact).toBe(true);
    expect(before.head.seq).toBeGreaterThanOrEqual(acknowledged);
    await using log = await AuditLog.open({ directory, signingKey });
    expect(log.head.seq).toBeGreaterThanOrEqual(acknowledged);
    expect(await log.verify()).toMatchObject({ intact: true, findings: [] });
  }
  expect(acknowledged).toBeGreaterThan(ROUNDS * 50);
});

/** Answers the last record number that the child reported as durable. */
async function appendUntilKilled(directory: string, keyPath: string, killAfter: number): Promise<number> {
  const program = join(import.meta.dirname, 'fixtures', 'append-for-ever.ts');
  const child = spawn(process.execPath, ['--conditions=heptad-source', program, directory, keyPath], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let last = 0;
  let seen = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    last = Number(line);
    seen += 1;
    if (seen === killAfter) child.kill('SIGKILL');
  }
  await ended;
  return last;
}
