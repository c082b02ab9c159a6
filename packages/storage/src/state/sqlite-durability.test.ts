// What SqliteStateStore keeps over restarts, what it refuses, and how it is backed up, restored and kept small.

import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { isHeptadError } from '@heptad/core';
import { VirtualClock } from '@heptad/core/sim';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkStateFile, restoreStateFile, SqliteStateStore } from './index.ts';

let directory = '';
let path = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'heptad-state-'));
  path = join(directory, 'state.db');
});
afterEach(() => rm(directory, { recursive: true }));

const put = (key: string, value: string, leaseId?: string) =>
  ({ op: 'put', key, value, ...(leaseId === undefined ? {} : { leaseId }) }) as const;

async function fill(keys: number): Promise<void> {
  await using store = new SqliteStateStore({ path });
  for (let index = 0; index < keys; index += 1) {
    await store.txn({ compare: [], success: [put(`/key/${index}`, `value ${index} `.repeat(40))] });
  }
}

/** Opens, and answers the error it must be refused with. */
function refusal(): { code: string; message: string; hint: string } {
  try {
    const store = new SqliteStateStore({ path });
    void store.close();
  } catch (error) {
    if (isHeptadError(error)) return { code: error.code, message: error.message, hint: error.hint ?? '' };
    throw error;
  }
  throw new Error('it opened');
}

describe('after a restart', () => {
  it('keys, revisions, history and requestIds are what they were', async () => {
    const txn = { compare: [], success: [put('/a', '2')], requestId: 'again' };
    {
      await using store = new SqliteStateStore({ path });
      await store.txn({ compare: [], success: [put('/a', '1')] });
      await store.txn(txn);
      await store.txn({ compare: [], success: [{ op: 'delete', key: '/a' }] });
    }
    await using store = new SqliteStateStore({ path });
    expect((await store.txn(txn)).revision).toBe(2);
    expect(await store.range({ key: '/a', revision: 2 })).toMatchObject({
      revision: 3,
      kvs: [{ value: '2' }],
    });
    const stop = new AbortController();
    const seen: string[] = [];
    for await (const events of store.watch({ prefix: '/', fromRevision: 1, signal: stop.signal })) {
      seen.push(...events.map((event) => `${event.revision} ${event.type}`));
      if (seen.length === 3) stop.abort();
    }
    expect(seen).toEqual(['1 put', '2 put', '3 delete']);
  });

  it('leases have their whole time again, and then end', async () => {
    let id = '';
    {
      await using store = new SqliteStateStore({ path, clock: new VirtualClock() });
      ({ id } = await store.grantLease({ ttlMs: 10_000 }));
      await store.txn({ compare: [], success: [put('/held', 'x', id)] });
    }
    const clock = new VirtualClock();
    await using store = new SqliteStateStore({ path, clock });
    await clock.advance(9_000);
    expect((await store.range({ key: '/held' })).kvs.length).toBe(1);
    await store.keepAlive(id);
    await clock.advance(9_999);
    expect((await store.range({ key: '/held' })).kvs.length).toBe(1);
    await clock.advance(1);
    expect((await store.range({ key: '/held' })).kvs).toEqual([]);
  });

  it('the compaction stays', async () => {
    await fill(5);
    {
      await using store = new SqliteStateStore({ path });
      await store.compact(3);
    }
    await using store = new SqliteStateStore({ path });
    await expect(store.range({ key: '/a', revision: 2 })).rejects.toMatchObject({ code: 'COMPACTED' });
    await expect(store.compact(3)).rejects.toMatchObject({ code: 'COMPACTED' });
  });
});

describe('a damaged file is refused, named and left untouched', () => {
  const damages: Record<string, (file: string) => void> = {
    'overwritten in the middle': (file) => {
      const bytes = readFileSync(file);
      bytes.fill(0x5a, Math.floor(bytes.length / 2), Math.floor(bytes.length / 2) + 6000);
      writeFileSync(file, bytes);
    },
    'with one bit flipped in a value': (file) => {
      const bytes = readFileSync(file);
      const at = bytes.lastIndexOf('value 7 ');
      expect(at).toBeGreaterThan(0);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      writeFileSync(file, bytes);
    },
    'cut short': (file) => truncateSync(file, Math.floor(statSync(file).size / 8192) * 4096),
    'cut to nothing': (file) => truncateSync(file, 0),
    'replaced by text': (file) => writeFileSync(file, 'this is not a database, '.repeat(500)),
    'replaced by another SQLite database': (file) => {
      rmFile(file);
      const other = new DatabaseSync(file);
      other.exec('CREATE TABLE t(x); INSERT INTO t VALUES (1)');
      other.close();
    },
    'with a revision from the future': (file) => {
      const database = new DatabaseSync(file);
      database.exec('UPDATE meta SET current_rev = 3');
      database.close();
    },
    'whose present state lost a key': (file) => {
      const database = new DatabaseSync(file);
      database.exec(`UPDATE event SET key = x'2f78' WHERE rev = 4`);
      database.close();
    },
  };
  for (const [name, damage] of Object.entries(damages)) {
    it(name, async () => {
      await fill(30);
      damage(path);
      const before = readFileSync(path);
      const { code, message, hint } = refusal();
      expect(code).toBe('STORE_CORRUPT');
      expect(message).toContain(path);
      expect(hint).toContain('restore');
      expect(readFileSync(path).equals(before)).toBe(true);
      expect(existsSync(`${path}-shm`)).toBe(false);
    });
  }

  it('a file of a newer format is refused as such', async () => {
    await fill(1);
    const database = new DatabaseSync(path);
    database.exec('PRAGMA user_version = 99');
    database.close();
    expect(refusal().code).toBe('STORE_FORMAT_UNKNOWN');
  });
});

function rmFile(file: string): void {
  writeFileSync(file, '');
  truncateSync(file, 0);
}

describe('opening', () => {
  it('a second store on the same file is STORE_IN_USE; after the first is closed it opens', async () => {
    const first = new SqliteStateStore({ path });
    await first.txn({ compare: [], success: [put('/a', '1')] });
    expect(refusal().code).toBe('STORE_IN_USE');
    await first.txn({ compare: [], success: [put('/a', '2')] });
    await first.close();
    await using second = new SqliteStateStore({ path });
    expect((await second.range({ key: '/a' })).kvs[0]?.value).toBe('2');
  });

  it('a directory that is not there is STORE_OPEN_FAILED with the path', () => {
    path = join(directory, 'missing', 'state.db');
    const { code, message } = refusal();
    expect(code).toBe('STORE_OPEN_FAILED');
    expect(message).toContain(path);
  });
});

describe('backup and restore', () => {
  it('a backup taken under load is whole, and restores what it had; the damaged file is kept aside', async () => {
    const backup = join(directory, 'state.backup');
    {
      await using store = new SqliteStateStore({ path });
      for (let index = 0; index < 50; index += 1) {
        await store.txn({ compare: [], success: [put(`/before/${index}`, 'x'.repeat(1000))] });
      }
      const progress: number[] = [];
      const [, ...revisions] = await Promise.all([
        store.backup(backup, { onProgress: ({ remainingPages }) => progress.push(remainingPages) }),
        ...Array.from({ length: 20 }, (_, index) =>
          store.txn({ compare: [], success: [put(`/during/${index}`, 'y')] }),
        ),
      ]);
      expect(revisions.length).toBe(20);
    }
    checkStateFile(backup);
    const damaged = 'damaged '.repeat(1000);
    writeFileSync(path, damaged);
    const aside = restoreStateFile({ backup, path, now: 1 });
    expect(readFileSync(aside ?? '', 'utf8')).toBe(damaged);
    await using store = new SqliteStateStore({ path });
    expect((await store.range({ key: '/before/', prefix: true })).kvs.length).toBe(50);
  });

  it('a log left of the damaged file is not replayed into the restored one', async () => {
    const backup = join(directory, 'state.backup');
    {
      await using store = new SqliteStateStore({ path });
      await store.txn({ compare: [], success: [put('/a', 'from the backup')] });
      await store.backup(backup);
    }
    writeFileSync(`${path}-wal`, 'stale');
    restoreStateFile({ backup, path, now: 2 });
    expect(existsSync(`${path}-wal`)).toBe(false);
    await using store = new SqliteStateStore({ path });
    expect((await store.range({ key: '/a' })).kvs[0]?.value).toBe('from the backup');
  });

  it('a damaged backup is refused before anything is moved', async () => {
    await fill(2);
    const backup = join(directory, 'state.backup');
    writeFileSync(backup, 'nonsense');
    expect(() => restoreStateFile({ backup, path, now: 3 })).toThrow(/damaged/);
    checkStateFile(path);
  });
});

describe('history', () => {
  it('compaction gives the space back, and reads, watches and previous values stay right', async () => {
    await using store = new SqliteStateStore({ path });
    for (let round = 0; round < 400; round += 1) {
      await store.txn({ compare: [], success: [put(`/k/${round % 10}`, `${round} ${'x'.repeat(5000)}`)] });
    }
    await store.txn({ compare: [], success: [{ op: 'delete', key: '/k/3' }] });
    const before = statSync(path).size + statSync(`${path}-wal`).size;
    await store.compact(396);
    await store.sweep();
    // Closed and opened, so that the log is in the file.
    await store.close();
    expect(statSync(path).size).toBeLessThan(before / 5);
    checkStateFile(path);
    await using again = new SqliteStateStore({ path });
    const at396 = await again.range({ key: '/k/', prefix: true, revision: 396 });
    expect(at396.kvs.map((kv) => Number.parseInt(kv.value, 10))).toEqual([
      390, 391, 392, 393, 394, 395, 386, 387, 388, 389,
    ]);
    const stop = new AbortController();
    const previous: (string | undefined)[] = [];
    for await (const events of again.watch({ prefix: '/k/', fromRevision: 396, signal: stop.signal })) {
      previous.push(...events.map((event) => event.previous?.value.slice(0, 3)));
      if (previous.length === 6) stop.abort();
    }
    expect(previous).toEqual(['385', '386', '387', '388', '389', '393']);
  });

  it('is compacted by itself after the time it is kept', async () => {
    const clock = new VirtualClock();
    await using store = new SqliteStateStore({ path, clock, history: { keepMs: 60_000, everyMs: 10_000 } });
    for (let index = 0; index < 5; index += 1)
      await store.txn({ compare: [], success: [put('/a', String(index))] });
    await clock.advance(50_000);
    await store.range({ key: '/a', revision: 1 });
    await clock.advance(30_000);
    await expect(store.range({ key: '/a', revision: 1 })).rejects.toMatchObject({ code: 'COMPACTED' });
    expect((await store.range({ key: '/a' })).kvs[0]?.value).toBe('4');
  });
});
