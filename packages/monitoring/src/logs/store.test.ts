import { describe, expect, it } from 'vitest';
import type { LogRecord } from './log-types.ts';
import { LogStore } from './store.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const records: LogRecord[] = [
  { at: 1000, level: 'info', service: 'orders', body: 'order 17 placed' },
  {
    at: 2000,
    level: 'error',
    service: 'orders',
    body: 'connection refused by payment',
    traceId,
    attributes: { 'http.status': 503 },
  },
  { at: 3000, level: 'warn', service: 'catalog', body: 'slow query: SELECT "name" FROM items' },
  { at: 4000, level: 'fatal', service: 'catalog', body: 'out of memory' },
];

async function found(search: string): Promise<number[]> {
  await using store = new LogStore();
  store.append(records);
  return store.search({ search }).map((log) => log.at);
}

describe('LogStore.search', () => {
  it.each([
    ['', [4000, 3000, 2000, 1000]],
    ['level:error', [2000]],
    ['level:>=warn', [4000, 3000, 2000]],
    ['service:orders', [2000, 1000]],
    ['service:orders -level:error', [1000]],
    ['REFUSED', [2000]],
    ['"connection refused"', [2000]],
    ['"refused connection"', []],
    ['refus*', [2000]],
    ['refus', []],
    [`trace:${traceId.toUpperCase()}`, [2000]],
    ['-trace:ffff', [4000, 3000, 2000, 1000]],
    ['http.status:503', [2000]],
    ['-http.status:503', [4000, 3000, 1000]],
    ['query "out of memory"', []],
    // What means something to FTS5 or SQL is only text here.
    ['OR', []],
    ["'; DROP TABLE logs; --", []],
    ['body:x" OR 1=1', undefined],
  ])('%s', async (search, expected) => {
    if (expected === undefined) await expect(found(search)).rejects.toMatchObject({ code: 'INVALID_QUERY' });
    else expect(await found(search)).toEqual(expected);
  });

  it('names the levels when one is unknown', async () => {
    await expect(found('level:loud')).rejects.toThrow(/trace, debug, info, warn, error, fatal/);
  });

  it('pages back and follows forward', async () => {
    await using store = new LogStore();
    store.append(records);
    const first = store.search({ limit: 2 });
    expect(store.search({ limit: 2, before: first[1]?.id ?? 0 }).map((log) => log.at)).toEqual([2000, 1000]);
    const seen = first[0]?.id ?? 0;
    store.append([{ at: 5000, level: 'info', service: 'x', body: 'new' }]);
    expect(store.search({ after: seen }).map((log) => log.body)).toEqual(['new']);
  });

  it('keeps no more than it may, the newest', async () => {
    await using store = new LogStore({
      maxRecords: 2,
      clock: (await import('@heptad/core')).systemClock,
      retentionMs: 1e15,
    });
    store.append(records);
    store.maintain();
    expect(store.search().map((log) => log.at)).toEqual([4000, 3000]);
    expect(store.search({ search: 'placed' })).toEqual([]);
  });
});
