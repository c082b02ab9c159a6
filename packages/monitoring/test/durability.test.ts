// What was acknowledged is still there: after a restart, after kill -9, and a damaged file is not touched.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MetricStore, MonitoringStack } from '../src/index.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'heptad-monitoring-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const byName = (value: string) => [{ name: '__name__', operator: '=', value }] as const;

describe('a restart', () => {
  it('keeps samples, logs, spans and pending alerts', async () => {
    const now = Date.now();
    const rule = { name: 'Down', expression: 'up == 0', forMs: 3_600_000 };
    const alerts = { rules: [rule], intervalMs: 0 };
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    {
      await using stack = new MonitoringStack({ directory, alerts });
      for (let i = 300; i >= 0; i--)
        await stack.metrics.append([{ labels: { __name__: 'n' }, at: now - i * 1000, value: i }]);
      await stack.append('up', { service: 'a' }, 0, now);
      stack.logs.append([{ at: now, level: 'info', service: 'a', body: 'hello again', traceId }]);
      await stack.alerts.evaluate();
    }
    await using stack = new MonitoringStack({ directory, alerts });
    expect(stack.metrics.select(byName('n'), 0, now)[0]?.values).toEqual(
      Float64Array.from({ length: 301 }, (_, i) => 300 - i),
    );
    expect(stack.logs.ofTrace(traceId)).toHaveLength(1);
    expect(stack.searchLogs({ search: 'again' })).toHaveLength(1);
    expect(stack.alerts.alerts()).toMatchObject([{ rule: 'Down', state: 'pending' }]);
    // And it goes on where it was.
    await stack.append('n', {}, -1, now + 1000);
    expect(stack.metrics.select(byName('n'), 0, now + 5000)[0]?.values).toHaveLength(302);
  });

  it('refuses a second process while the first one lives', async () => {
    await using first = new MetricStore({ directory });
    expect(first.stats().series).toBe(0);
    expect(() => new MetricStore({ directory })).toThrow(expect.objectContaining({ code: 'STORE_IN_USE' }));
  });

  it('refuses a damaged file, names it and changes nothing', async () => {
    const file = join(directory, 'metrics.db');
    writeFileSync(file, Buffer.alloc(8192, 'damage'));
    const before = readFileSync(file);
    expect(() => new MonitoringStack({ directory })).toThrow(
      expect.objectContaining({ code: 'STORE_CORRUPTED', message: expect.stringContaining(file) }),
    );
    expect(readFileSync(file)).toEqual(before);
  });
});

const WRITER = `
import { MetricStore } from '${new URL('../src/index.ts', import.meta.url).href}';
const store = new MetricStore({ directory: process.argv[1] });
const begin = Number(process.argv[2]);
for (let i = 0; ; i++) {
  const samples = Array.from({ length: 20 }, (_, s) => ({ labels: { __name__: 'n', s: String(s) }, at: begin + i, value: i }));
  const { accepted } = await store.append(samples);
  if (accepted === 20) process.stdout.write(i + '\\n');
  if (i % 150 === 149) store.maintain();
}`;

describe('kill -9', () => {
  it('loses no acknowledged sample', async () => {
    const begin = Date.now() - 60_000;
    for (let round = 0; round < 3; round++) {
      const from = begin + round * 15_000;
      const child = spawn(
        process.execPath,
        ['--conditions=heptad-source', '--input-type=module', '-e', WRITER, directory, String(from)],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      let last = -1;
      child.stdout.on('data', (chunk: Buffer) => {
        const lines = chunk.toString().trim().split('\n');
        last = Number(lines.at(-1));
        if (last > 200 + round * 77) child.kill('SIGKILL');
      });
      await new Promise((resolve) => child.once('close', resolve));
      expect(last).toBeGreaterThan(200);
      await using store = new MetricStore({ directory });
      for (const { values } of store.select(byName('n'), from, from + 14_999)) {
        // At most the batch in flight is there beyond the acknowledged ones; none of those is missing.
        expect(values.length).toBeGreaterThanOrEqual(last + 1);
        for (const [index, value] of values.entries()) expect(value).toBe(index);
      }
      expect(store.series(byName('n'))).toHaveLength(20);
    }
  });
});
