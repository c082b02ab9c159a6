import { appendFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@heptad/core';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { splitRecords } from '../process/log-collector.ts';
import { formatLogRecord, LineJoiner, parseLogRecord } from './log-format.ts';
import { readLog } from './log-reader.ts';
import { rotateLog } from './rotate-log.ts';

let directory: string;
let log: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'heptad-log-'));
  log = join(directory, 'log');
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

const line = (text: string, at = 0): string =>
  `${formatLogRecord({ at, stream: 'stdout', partial: false, text })}\n`;

async function texts(options = {}, ended = () => true): Promise<string[]> {
  const all: string[] = [];
  for await (const { text } of readLog(log, systemClock, ended, options)) all.push(text);
  return all;
}

describe('the log format', () => {
  it('reads what conmon writes', () => {
    expect(parseLogRecord('2026-11-21T13:07:10.410123456+00:00 stderr P half')).toEqual({
      at: Date.UTC(2026, 10, 21, 13, 7, 10, 410),
      stream: 'stderr',
      partial: true,
      text: 'half',
    });
    expect(parseLogRecord('2026-11-21T14:07:10.410123456+01:00 stdout F ')?.text).toBe('');
    expect(parseLogRecord('2026-11-21T14:07:10.41')).toBeUndefined();
  });

  it('gives back any line that is written', () => {
    fc.assert(
      fc.property(
        fc.string().filter((text) => !text.includes('\n')),
        fc.boolean(),
        (text, partial) => {
          const record = { at: 1_700_000_000_123, stream: 'stdout' as const, partial, text };
          expect(parseLogRecord(formatLogRecord(record))).toEqual(record);
        },
      ),
    );
  });

  it('output cut anywhere into any pieces gives the same lines', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'grapheme', maxLength: 40 })),
        fc.array(fc.nat(20)),
        (words, cuts) => {
          const lines = words.map((word) => word.replaceAll('\n', ' '));
          const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
          const joiner = new LineJoiner();
          const seen: string[] = [];
          let from = 0;
          let until = 0;
          for (const cut of [...cuts, bytes.length]) {
            until = Math.min(bytes.length, until + cut);
            const { records, consumed } = splitRecords(bytes.subarray(from, until), 'stdout', 0, false);
            for (const record of records) {
              const done = joiner.add({ ...record, text: record.bytes.toString() });
              if (done !== undefined) seen.push(done.text);
            }
            from += consumed;
          }
          expect(seen).toEqual(lines);
        },
      ),
    );
  });

  it('a line without end is stored in parts that join to the whole, characters unbroken', () => {
    const text = 'é€😀'.repeat(9_000);
    const { records } = splitRecords(Buffer.from(`${text}\n`), 'stderr', 0, false);
    expect(records.length).toBeGreaterThan(4);
    expect(records.map((record) => record.bytes.toString()).join('')).toBe(text);
    expect(records.map(({ partial }) => partial)).toEqual([...Array(records.length - 1).fill(true), false]);
  });
});

describe('readLog', () => {
  it('reads rotated files in order', async () => {
    await writeFile(`${log}.2`, line('a'));
    await writeFile(`${log}.1`, line('b'));
    await writeFile(log, line('c'));
    expect(await texts()).toEqual(['a', 'b', 'c']);
    expect(await texts({ tail: 2 })).toEqual(['b', 'c']);
    expect(await texts({ tail: 0 })).toEqual([]);
  });

  it('follows across rotations without losing or repeating a line', async () => {
    await writeFile(log, line('0'));
    let ended = false;
    const reading = texts({ follow: true }, () => ended);
    for (let index = 1; index < 60; index += 1) {
      await appendFile(log, line(String(index)));
      if (index % 7 === 0 && (await rotateLog(log, { maxBytes: 1, maxFiles: 20 }))) {
        // The writer goes on in the old file until it has noticed.
        await appendFile(`${log}.1`, line(`${index}+`));
        await writeFile(log, '');
      }
      await systemClock.sleep(index % 9 === 0 ? 60 : 1);
    }
    ended = true;
    const expected = Array.from({ length: 60 }, (_, index) =>
      index > 0 && index % 7 === 0 ? [`${index}`, `${index}+`] : [`${index}`],
    ).flat();
    expect(await reading).toEqual(expected);
  });

  it('a follower with a tail gets the last lines and then everything new', async () => {
    await writeFile(log, [1, 2, 3, 4].map((number) => line(String(number))).join(''));
    let ended = false;
    const reading = texts({ follow: true, tail: 1 }, () => ended);
    await systemClock.sleep(150);
    await appendFile(log, line('5'));
    ended = true;
    expect(await reading).toEqual(['4', '5']);
  });

  it('waits for a log that is not there yet', async () => {
    let ended = false;
    const reading = texts({ follow: true }, () => ended);
    await systemClock.sleep(30);
    await writeFile(log, line('late'));
    ended = true;
    expect(await reading).toEqual(['late']);
  });
});

describe('rotateLog', () => {
  it('keeps the newest files and drops the oldest', async () => {
    for (const text of ['a', 'b', 'c', 'd']) {
      await writeFile(log, line(text));
      await rotateLog(log, { maxBytes: 1, maxFiles: 3 });
    }
    await writeFile(log, line('e'));
    expect(await texts()).toEqual(['c', 'd', 'e']);
    await rename(log, `${log}.x`);
    expect(await rotateLog(log, { maxBytes: 1, maxFiles: 3 })).toBe(false);
  });
});
