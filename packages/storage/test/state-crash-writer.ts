// Child of state-crash.test.ts: writes numbered transactions and says each number once it is acknowledged.

import { writeSync } from 'node:fs';
import { SqliteStateStore } from '@heptad/storage/state';

const [path, last] = [process.argv[2] ?? '', Number(process.argv[3])];
const store = new SqliteStateStore({ path });

/** The highest number in the store: the writer before us may have written it without living to say so. */
const { kvs } = await store.range({ key: '/a/', prefix: true });
const begin = kvs.length;

/** Writers at once, so that commits are groups. */
const LANES = 4;
async function lane(first: number): Promise<void> {
  for (let number = first; number <= last; number += LANES) {
    const name = String(number).padStart(6, '0');
    await store.txn({
      compare: [{ key: `/a/${name}`, target: 'version', is: '=', than: 0 }],
      success: [
        { op: 'put', key: `/a/${name}`, value: `value ${number} ${'x'.repeat(200)}` },
        { op: 'put', key: `/b/${name}`, value: String(number) },
        { op: 'put', key: '/newest', value: String(number) },
      ],
      requestId: `write-${number}`,
    });
    // A pipe to the parent: what is written here has left this process before it can be killed.
    writeSync(1, `${number}\n`);
  }
}
await Promise.all(Array.from({ length: LANES }, (_, index) => lane(begin + 1 - (begin % LANES) + index)));
await store.close();
