import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Disk, type DiskFile, nodeDisk } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeOf, freshDirectory } from '../../test/support.ts';
import { AuditLog } from './audit-log.ts';
import type { AuditLogOptions, CheckpointWitness } from './audit-options.ts';
import { verifyAuditLog } from './audit-reader.ts';
import { type Checkpoint, loadSigningKey } from './checkpoint.ts';
import { type AuditEvent, chainRecord, GENESIS_HASH, readLine } from './record.ts';
import { segmentName } from './segments.ts';

const event = (resource: string, more: Partial<AuditEvent> = {}): AuditEvent => ({
  principal: { id: 'ada', type: 'user' },
  action: 'write',
  resource,
  decision: 'allowed',
  level: 'HIGH',
  ...more,
});

interface Made {
  readonly options: AuditLogOptions;
  readonly file: string;
  lines(): Promise<string[]>;
  replace(lines: readonly string[]): Promise<void>;
  verify(witnessed?: Checkpoint[]): ReturnType<typeof verifyAuditLog>;
}

/** A closed log of `count` records. */
async function made(count: number, more: Partial<AuditLogOptions> = {}): Promise<Made> {
  const root = await freshDirectory();
  const directory = join(root, 'log');
  const signingKey = await loadSigningKey(join(root, 'key.pem'));
  const options = { directory, signingKey, checkpointEvery: 5, ...more };
  {
    await using log = await AuditLog.open(options);
    for (let number = 1; number <= count; number += 1) await log.append(event(`services/s${number}`));
  }
  const file = join(directory, segmentName(1));
  return {
    options,
    file,
    lines: async () => (await readFile(file, 'utf8')).split('\n').slice(0, -1),
    replace: (lines) => writeFile(file, lines.map((line) => `${line}\n`).join('')),
    verify: (witnessed = []) => verifyAuditLog({ directory, key: signingKey, witnessed }),
  };
}

/** The lines from index `from` on, chained anew with a changed record at `from`. */
function forged(lines: readonly string[], from: number): string[] {
  let prev = from === 0 ? GENESIS_HASH : (readLine(Buffer.from(lines[from - 1] ?? '')).record?.hash ?? '');
  return lines.map((line, index) => {
    const record = readLine(Buffer.from(line)).record;
    if (index < from || record === undefined) return line;
    const changed = index === from ? { ...record.event, resource: 'services/forged' } : record.event;
    const next = chainRecord(record.seq, prev, record.at, changed);
    prev = next.record.hash;
    return next.line.toString().trimEnd();
  });
}

describe('AuditLog', () => {
  it('proves an untouched log intact, before and after reopening', async () => {
    const log = await made(12);
    expect(await log.verify()).toMatchObject({ intact: true, records: 12, signedThrough: 12, findings: [] });
    await using again = await AuditLog.open(log.options);
    expect(again.head.seq).toBe(12);
    await again.append(event('services/more'));
    expect(await again.verify()).toMatchObject({ intact: true, records: 13 });
  });

  it('keeps the order of calls and acknowledges only what is on disk', async () => {
    const log = await made(0);
    await using open = await AuditLog.open(log.options);
    const records = await Promise.all(
      Array.from({ length: 500 }, (_, index) => open.append(event(`r/${index}`))),
    );
    expect(records.map((record) => record.seq)).toEqual(Array.from({ length: 500 }, (_, index) => index + 1));
    expect(await log.lines()).toHaveLength(500);
  });

  it('continues over segments and notices when a whole one is missing', async () => {
    const log = await made(40, { segmentBytes: 2_000 });
    const names = (await readdir(log.options.directory)).filter((name) => name.startsWith('audit-'));
    expect(names.length).toBeGreaterThan(3);
    expect(await log.verify()).toMatchObject({ intact: true, records: 40 });
    await rm(join(log.options.directory, segmentName(2)));
    const result = await log.verify();
    expect(result.findings[0]).toMatchObject({ kind: 'removed', file: segmentName(3), offset: 0 });
  });

  it('answers queries newest first, in pages', async () => {
    const log = await made(30, { segmentBytes: 3_000 });
    await using open = await AuditLog.open(log.options);
    await open.append(
      event('logs/web', { principal: { id: 'bob', type: 'user' }, level: 'MEDIUM', decision: 'denied' }),
    );
    expect((await open.query({ principal: 'bob' })).records.map((record) => record.seq)).toEqual([31]);
    expect((await open.query({ level: 'HIGH', limit: 2 })).records.map((record) => record.seq)).toEqual([
      30, 29,
    ]);
    expect((await open.query({ resource: 'logs', decision: 'denied' })).records).toHaveLength(1);
    const seen: number[] = [];
    for (let before: number | undefined = 1_000; before !== undefined; ) {
      const page: Awaited<ReturnType<typeof open.query>> = await open.query({ before, limit: 7 });
      seen.push(...page.records.map((record) => record.seq));
      before = page.nextCursor;
    }
    expect(seen).toEqual(Array.from({ length: 31 }, (_, index) => 31 - index));
  });

  it('writes no secrets', async () => {
    const log = await made(0);
    await using open = await AuditLog.open(log.options);
    await open.append(event('x', { details: { password: 'open sesame', note: 'Bearer abcdefghijklmnop' } }));
    expect((await log.lines())[0]).not.toMatch(/sesame|abcdefgh/);
  });

  it('refuses what is not an event, or too large, and goes on', async () => {
    const log = await made(1);
    await using open = await AuditLog.open(log.options);
    expect(await codeOf(open.append(event('')))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(open.append(event('x', { details: { text: 'y'.repeat(20_000) } })))).toBe(
      'INVALID_ARGUMENT',
    );
    // A bad one in the middle of a batch takes nobody with it.
    const codes = await Promise.all(
      [{}, { n: 1n }, { text: 'y'.repeat(20_000) }, {}].map((details) =>
        codeOf(open.append(event('x', { details }))),
      ),
    );
    expect(codes).toEqual(['none', 'INVALID_ARGUMENT', 'INVALID_ARGUMENT', 'none']);
    expect(await open.verify()).toMatchObject({ intact: true, records: 3 });
  });
});

describe('tampering', () => {
  const COUNT = 13;

  it('finds every edited record by number and place, whatever byte of it was changed', async () => {
    const log = await made(COUNT);
    const lines = await log.lines();
    const original = lines.join('\n');
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: COUNT - 1 }),
        fc.nat(),
        fc.integer({ min: 1, max: 127 }),
        async (index, where, mask) => {
          const bytes = Buffer.from(lines[index] ?? '');
          const at = where % bytes.length;
          const changed = bytes.readUInt8(at) ^ mask;
          fc.pre(changed !== 0x0a);
          bytes.writeUInt8(changed, at);
          await writeFile(
            log.file,
            Buffer.concat(
              lines.flatMap((line, n) => [n === index ? bytes : Buffer.from(line), Buffer.from('\n')]),
            ),
          );
          const { intact, findings } = await log.verify();
          expect(intact).toBe(false);
          const offset = lines.slice(0, index).reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0);
          expect(findings[0]).toMatchObject({ kind: 'edited', seq: index + 1, file: segmentName(1), offset });
        },
      ),
      { numRuns: 150 },
    );
    await log.replace(original.split('\n'));
    expect((await log.verify()).intact).toBe(true);
  });

  it('says in a sentence what it found', async () => {
    const log = await made(3);
    expect((await log.verify()).message).toBe('intact: 3 records, the newest is 3, signed through 3');
    await log.replace((await log.lines()).toSpliced(1, 1));
    expect((await log.verify()).message).toMatch(
      /^NOT intact: record 2 was removed before record 3 \(audit-00000001.jsonl, byte \d+\)$/,
    );
  });

  it('finds removed records', async () => {
    const log = await made(COUNT);
    const lines = await log.lines();
    for (let index = 0; index < COUNT - 1; index += 1) {
      await log.replace(lines.toSpliced(index, 1));
      expect((await log.verify()).findings).toMatchObject([{ kind: 'removed', seq: index + 1 }]);
    }
    await log.replace(lines.toSpliced(3, 4));
    expect((await log.verify()).findings).toMatchObject([
      { kind: 'removed', seq: 4, message: 'records 4 to 7 were removed before record 8' },
    ]);
  });

  it('finds inserted lines: garbage, copies, and well-formed forgeries', async () => {
    const log = await made(COUNT);
    const lines = await log.lines();
    const forgery = forged(lines, 4)[4] ?? '';
    for (const line of ['garbage', lines[1] ?? '', forgery]) {
      await log.replace(lines.toSpliced(4, 0, line));
      expect((await log.verify()).findings).toMatchObject([{ kind: 'inserted', seq: 5 }]);
    }
  });

  it('finds a record that was edited and hashed anew', async () => {
    const log = await made(COUNT);
    const lines = await log.lines();
    await log.replace(lines.with(6, forged(lines, 6)[6] ?? ''));
    expect((await log.verify()).findings).toMatchObject([{ kind: 'edited', seq: 7 }]);
  });

  it('finds a chain that was computed anew, by the signed checkpoints', async () => {
    const log = await made(COUNT);
    await log.replace(forged(await log.lines(), 6));
    const { findings } = await log.verify();
    // Checkpoints are at 5, 10 and 13: what changed lies after the one that still agrees.
    expect(findings[0]).toMatchObject({ kind: 'rewritten', seq: 6 });
  });

  it('finds a cut-off end, by checkpoints, by a witness elsewhere, and by the running log', async () => {
    let witnessed: Checkpoint | undefined;
    const witness: CheckpointWitness = {
      load: async () => witnessed,
      save: async (checkpoint) => {
        witnessed = checkpoint;
      },
    };
    const log = await made(COUNT, { witness });
    const lines = await log.lines();
    await log.replace(lines.slice(0, 9));
    expect((await log.verify()).findings).toMatchObject([{ kind: 'truncated', seq: 10 }]);

    await rm(join(log.options.directory, 'checkpoints.jsonl'));
    expect((await log.verify()).intact).toBe(true);
    expect((await log.verify(witnessed === undefined ? [] : [witnessed])).findings).toMatchObject([
      { kind: 'truncated', seq: 10 },
    ]);
    expect(await codeOf(AuditLog.open(log.options))).toBe('AUDIT_CORRUPT');

    const live = await made(3);
    await using open = await AuditLog.open(live.options);
    await open.append(event('last'));
    await live.replace((await live.lines()).slice(0, 3));
    expect((await open.verify()).findings).toMatchObject([{ kind: 'truncated', seq: 4 }]);
    expect(await codeOf(open.append(event('after')))).toBe('AUDIT_CONFLICT');
  });

  it('finds checkpoints of another key and damaged ones', async () => {
    const log = await made(COUNT);
    const other = await loadSigningKey(join(await freshDirectory(), 'other.pem'));
    const result = await verifyAuditLog({ directory: log.options.directory, key: other });
    expect(result.findings.every((finding) => finding.kind === 'checkpoint')).toBe(true);
    expect(result.intact).toBe(false);
  });

  it('refuses to append to a damaged log and changes nothing', async () => {
    const log = await made(COUNT);
    const lines = await log.lines();
    await log.replace(lines.with(12, (lines[12] ?? '').replace('s13', 's99')));
    const before = await readFile(log.file);
    const error: unknown = await AuditLog.open(log.options).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'AUDIT_CORRUPT',
      message: expect.stringContaining('record 13 was edited'),
    });
    expect((await readFile(log.file)).equals(before)).toBe(true);
  });
});

describe('crashes', () => {
  it('tells a cut-off write from damage, repairs it, and says so in the log', async () => {
    const log = await made(4, { checkpointEvery: 2 });
    const whole = await readFile(log.file);
    const next = chainRecord(5, 'f'.repeat(64), 1, event('torn')).line;
    for (const tail of [next.subarray(0, 1), next.subarray(0, 60), next.subarray(0, -1), Buffer.alloc(512)]) {
      await writeFile(log.file, Buffer.concat([whole, tail]));
      expect(await log.verify()).toMatchObject({
        intact: true,
        findings: [{ kind: 'torn', offset: whole.length }],
      });
      {
        await using open = await AuditLog.open(log.options);
        expect((await open.query({ limit: 1 })).records[0]?.event).toMatchObject({
          action: 'audit.recover',
          details: { cutOffBytes: tail.length },
        });
        expect(await open.verify()).toMatchObject({ intact: true, records: 5, findings: [] });
      }
      // Back to the start for the next kind of tail.
      await rm(join(log.options.directory, 'checkpoints.jsonl'));
      await writeFile(log.file, whole);
    }
  });

  it('does not take a record that was signed for a cut-off write', async () => {
    const log = await made(4);
    await truncate(log.file, (await readFile(log.file)).length - 10);
    expect((await log.verify()).findings.map((finding) => finding.kind)).toEqual(['torn', 'truncated']);
    expect(await codeOf(AuditLog.open(log.options))).toBe('AUDIT_CORRUPT');
  });

  it('a write that the disk refuses is refused to the caller and leaves the log whole', async () => {
    const faults = { write: false, datasync: false };
    const log = await made(2);
    await using open = await AuditLog.open({ ...log.options, disk: faultyDisk(faults) });
    faults.write = true;
    expect(await codeOf(open.append(event('refused')))).toBe('AUDIT_FAILED');
    faults.write = false;
    expect((await open.append(event('accepted'))).seq).toBe(3);
    expect(await open.verify()).toMatchObject({ intact: true, records: 3 });
    // After a failed fsync nobody knows what is on disk: nothing may follow.
    faults.datasync = true;
    expect(await codeOf(open.append(event('unknown')))).toBe('AUDIT_FAILED');
    faults.datasync = false;
    expect(await codeOf(open.append(event('after')))).toBe('AUDIT_FAILED');
  });
});

function faultyDisk(faults: { write: boolean; datasync: boolean }): Disk {
  const wrap = (file: DiskFile): DiskFile => ({
    read: (offset, length) => file.read(offset, length),
    write: async (offset, data) => {
      if (!faults.write) return file.write(offset, data);
      await file.write(offset, data.subarray(0, data.length >> 1));
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    },
    datasync: async () => {
      if (faults.datasync) throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' });
      await file.datasync();
    },
    size: () => file.size(),
    truncate: (length) => file.truncate(length),
    close: () => file.close(),
    [Symbol.asyncDispose]: () => file.close(),
  });
  return {
    open: async (path, mode) => wrap(await nodeDisk.open(path, mode)),
    rename: (from, to) => nodeDisk.rename(from, to),
    remove: (path) => nodeDisk.remove(path),
    syncDirectory: (path) => nodeDisk.syncDirectory(path),
    makeDirectory: (path) => nodeDisk.makeDirectory(path),
    list: (path) => nodeDisk.list(path),
    exists: (path) => nodeDisk.exists(path),
  };
}
