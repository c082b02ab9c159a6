// kill -9 in the middle of a thousand transactions, again and again: nothing acknowledged is lost, nothing is torn.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkStateFile, SqliteStateStore } from '@heptad/storage/state';
import { afterEach, beforeEach, expect, it } from 'vitest';

const TRANSACTIONS = 1000;
const WRITER = fileURLToPath(new URL('./state-crash-writer.ts', import.meta.url));

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'heptad-crash-'));
});
afterEach(() => rm(directory, { recursive: true }));

/** Runs a writer; kills it once it has acknowledged `killAfter` more. Answers what it acknowledged. */
async function writeUntilKilled(
  path: string,
  killAfter: number,
): Promise<{ acknowledged: number[]; killed: boolean }> {
  const child = spawn(process.execPath, ['--conditions=heptad-source', WRITER, path, String(TRANSACTIONS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  let killed = false;
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    if (!killed && text.split('\n').length > killAfter) {
      killed = true;
      child.kill('SIGKILL');
    }
  });
  await once(child, 'close');
  return { acknowledged: text.split('\n').filter(Boolean).map(Number), killed };
}

it('loses no acknowledged write and opens clean after each of several kill -9', async () => {
  const path = join(directory, 'state.db');
  const acknowledged = new Set<number>();
  let kills = 0;
  for (const killAfter of [1, 37, 90, 150, 230, 300, Number.POSITIVE_INFINITY]) {
    const run = await writeUntilKilled(path, killAfter);
    for (const number of run.acknowledged) acknowledged.add(number);
    if (run.killed) kills += 1;

    checkStateFile(path);
    await using store = new SqliteStateStore({ path });
    const a = (await store.range({ key: '/a/', prefix: true })).kvs;
    const b = (await store.range({ key: '/b/', prefix: true })).kvs;
    const present = new Set(b.map((kv) => Number(kv.value)));
    const lost = [...acknowledged].filter((number) => !present.has(number));
    expect(lost, `after kill ${kills}`).toEqual([]);
    // Both keys of a transaction or neither, written at one revision.
    expect(a.map((kv) => [kv.key.slice(3), kv.modRevision])).toEqual(
      b.map((kv) => [kv.key.slice(3), kv.modRevision]),
    );
  }
  expect(kills).toBeGreaterThanOrEqual(5);
  expect(acknowledged.size).toBeGreaterThan(TRANSACTIONS / 2);

  // The history is whole: every revision from the first to the last, each with its three puts.
  await using store = new SqliteStateStore({ path });
  const { revision, kvs } = await store.range({ key: '/b/', prefix: true });
  expect(kvs.length).toBe(TRANSACTIONS);
  expect(revision).toBe(TRANSACTIONS);
  let expected = 1;
  const stop = new AbortController();
  for await (const events of store.watch({ prefix: '', fromRevision: 1, signal: stop.signal })) {
    expect(events.map((event) => event.revision)).toEqual([expected, expected, expected]);
    if (expected === revision) stop.abort();
    expected += 1;
  }
});
