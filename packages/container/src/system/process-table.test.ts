import { describe, expect, it } from 'vitest';
import { bootTimeMs, describeProcesses, parseProcess } from './process-table.ts';

const stat =
  '42 (a (b) c) S 7 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 1234 1000000 200 18446744073709551615';

describe('parseProcess', () => {
  it('reads a process whose name has spaces and brackets', () => {
    const texts = { stat, status: 'Name:\ta\nUid:\t1000\t1000\t1000\t1000\n', command: 'node\0-e\0x y\0' };
    expect(parseProcess(42, texts, 1_000_000)).toEqual({
      pid: 42,
      parentPid: 7,
      uid: 1000,
      threads: 3,
      cpuMs: 2000,
      residentBytes: 200 * 4096,
      startedAt: 1_000_000 + 12_340,
      command: 'node -e x y',
    });
  });

  it('names what has no command line, and leaves zombies out', () => {
    expect(parseProcess(42, { stat, status: '', command: '' }, 0)?.command).toBe('[a (b) c]');
    expect(
      parseProcess(42, { stat: stat.replace(') S', ') Z'), status: '', command: '' }, 0),
    ).toBeUndefined();
  });
});

describe('describeProcesses', () => {
  it('finds this process, and nobody of a pid that is free', async () => {
    const [self, ...rest] = await describeProcesses([process.pid, 4_194_304], process.pid);
    expect(rest).toEqual([]);
    expect(self).toMatchObject({ pid: process.pid, parentPid: process.ppid });
    expect(Math.abs((self?.startedAt ?? 0) - (Date.now() - process.uptime() * 1000))).toBeLessThan(60_000);
  });
});

describe('bootTimeMs', () => {
  it('is in /proc/stat', () => {
    expect(bootTimeMs('cpu 1 2\nbtime 1700000000\nprocesses 5\n')).toBe(1_700_000_000_000);
  });
});
