import { appendFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@heptad/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { followOutput, type OutputOptions, parseOutput } from './log-bytes.ts';
import { logNow } from './log-chunks.ts';

let directory: string;
let log: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'heptad-log-'));
  log = join(directory, 'log');
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

function record(text: string, tag: 'F' | 'P' = 'F', stream = 'stdout'): string {
  return `2026-01-01T00:00:00.000000000+00:00 ${stream} ${tag} ${text}\n`;
}

async function read(start: OutputOptions['start'], hasEnded = (): boolean => true): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const { bytes } of followOutput(log, systemClock, hasEnded, { start })) chunks.push(bytes);
  return Buffer.concat(chunks).toString('latin1');
}

describe('parseOutput', () => {
  it('gives back the bytes that were written, text or not', () => {
    const line = Buffer.concat([
      Buffer.from('2026-01-01T00:00:00Z stderr P '),
      Buffer.of(0xff, 0, 0x20, 0x0d),
    ]);
    expect(parseOutput(line)).toEqual({ stream: 'stderr', bytes: Buffer.of(0xff, 0, 0x20, 0x0d) });
  });

  it('adds the line end of a full record, and skips what is no record', () => {
    expect(parseOutput(Buffer.from('t stdout F '))?.bytes.toString()).toBe('\n');
    for (const text of ['', '# 12 34', 't stdout', 't other F x', 'cut sho']) {
      expect(parseOutput(Buffer.from(text))).toBeUndefined();
    }
  });
});

describe('followOutput', () => {
  it('joins parts without adding anything', async () => {
    await writeFile(log, record('a', 'P') + record('b', 'P') + record('c') + record('tail', 'P'));
    expect(await read('beginning')).toBe('abc\ntail');
  });

  it('begins with the last lines, an unfinished one counted', async () => {
    await writeFile(log, [1, 2, 3, 4].map((n) => record(`line ${n}`)).join('') + record('half', 'P'));
    expect(await read({ lines: 2, before: await logNow(log) })).toBe('line 4\nhalf');
    expect(await read({ lines: 0, before: await logNow(log) })).toBe('');
    expect(await read({ lines: 99, before: await logNow(log) })).toBe('line 1\nline 2\nline 3\nline 4\nhalf');
  });

  it('counts lines back from a point, across rotations, and goes on behind it', async () => {
    await writeFile(`${log}.1`, record('old') + record('older'));
    await writeFile(log, record('new'));
    const before = await logNow(log);
    await appendFile(log, record('later'));
    expect(await read({ lines: 2, before })).toBe('older\nnew\nlater\n');
  });

  it('goes on from a point across rotations', async () => {
    await writeFile(log, record('before'));
    const now = await logNow(log);
    await appendFile(log, record('one'));
    await rename(log, `${log}.1`);
    await writeFile(log, record('two'));
    expect(await read(now)).toBe('one\ntwo\n');
  });

  it('begins with everything when nothing had been written yet', async () => {
    const now = await logNow(log);
    await writeFile(log, record('first'));
    expect(await read(now)).toBe('first\n');
  });
});
