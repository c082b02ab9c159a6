// The latency fault in a real network namespace: measured before, during and after, and gone whoever is killed.

import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { MemoryStateStore } from '@heptad/core';
import { ChaosController, renderReportHtml } from '@heptad/dr/chaos';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createNamespace, namespacesMissing, SERVER, type TestNamespace } from './support/namespace.ts';

const missing = namespacesMissing();
if (missing !== undefined && process.env.CI === 'true')
  throw new Error(`cannot test latency faults: ${missing}`);

const agent = new Agent({ keepAlive: true, maxSockets: 8 });

function request(url: string, signal?: AbortSignal): Promise<number> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    get(url, { agent, ...(signal === undefined ? {} : { signal }) }, (response) => {
      response.resume();
      response.on('end', () => resolve(performance.now() - began));
    }).on('error', reject);
  });
}

async function until(what: string, test: () => boolean | Promise<boolean>, withinMs = 15_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await test())) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe.skipIf(missing !== undefined)(`network-latency ${missing ?? ''}`, () => {
  let namespace: TestNamespace;
  let index = 0;
  beforeEach(async () => {
    index += 1;
    namespace = createNamespace(index);
    await namespace.run(SERVER);
  });
  afterEach(async () => {
    await namespace[Symbol.asyncDispose]();
  });

  const yaml = (params: string, threshold = '< 400ms'): string => `
experiment:
  name: a slow web
  scenarios:
    - { type: network-latency, target: web, params: ${params} }
  metrics:
    - { name: errors, source: 'probe:error-rate', threshold: '< 25%' }
    - { name: slow, source: 'probe:latency-p99', threshold: '${threshold}' }
`;
  const controller = (): ChaosController =>
    new ChaosController({
      store: new MemoryStateStore(),
      targets: {
        resolve: async (name) => ({
          name,
          instances: [{ id: 'web-1', netns: namespace.path, address: namespace.address, ports: [8080] }],
          peers: [{ address: namespace.hostAddress, port: 9 }],
        }),
      },
      probe: async (signal) => {
        await request(`http://${namespace.address}:8080/`, signal);
        return { ok: true };
      },
      timing: { steadyMs: 600, probeIntervalMs: 100, observeIntervalMs: 300, faultTtlMs: 3000 },
    });

  it('adds the latency asked for, also on pooled connections, proves it and takes it back', async () => {
    await using chaos = controller();
    const report = await chaos.run(yaml('{ latency: 100ms, jitter: 5ms, duration: 4s }'));
    expect(report.because).toContain('really there');
    expect(report).toMatchObject({ status: 'completed', verdict: 'passed' });
    const during = report.samples.filter(
      ({ ok, phase, latencyMs }) => ok && phase === 'during' && latencyMs > 90,
    );
    expect(during.length).toBeGreaterThan(15);
    const evidence: Record<string, unknown> = report.scenarios[0]?.proof.evidence ?? {};
    const middle = (values: unknown): number =>
      (values as number[]).toSorted((a, b) => a - b)[2] ?? Number.NaN;
    expect(middle(evidence.roundTripBeforeMs)).toBeLessThan(50);
    expect(middle(evidence.roundTripDuringMs)).toBeGreaterThan(90);
    expect(middle(evidence.roundTripAfterMs)).toBeLessThan(50);
    expect(namespace.rules()).not.toContain('heptad_chaos');
    expect(await chaos.report(report.id)).toEqual(JSON.parse(JSON.stringify(report)));
    const html = renderReportHtml(report);
    expect(html).toContain('<svg');
    expect(html).not.toMatch(/<script|https?:\/\/(?!127)/);
  });

  it('fails the experiment when the latency breaks a threshold', async () => {
    await using chaos = controller();
    const report = await chaos.run(yaml('{ latency: 300ms, duration: 2s }', '< 150ms'));
    expect(report).toMatchObject({ status: 'completed', verdict: 'failed' });
    expect(report.because).toContain('slow must keep < 150ms');
  });

  it('calls an injection that could not be made unproven, not passed', async () => {
    await using chaos = controller();
    const report = await chaos.run(yaml('{ latency: 100ms, duration: 1s, direction: from }'));
    // Nobody listens on the peer: nothing can be measured and no traffic passes.
    expect(report).toMatchObject({ status: 'completed', verdict: 'unproven', score: null });
    expect(namespace.rules()).not.toContain('heptad_chaos');
  });

  it('takes the fault back when aborted in the middle', async () => {
    await using chaos = controller();
    const running = chaos.start(yaml('{ latency: 200ms, duration: 60s }'));
    await until('the fault is there', () => namespace.rules().includes('redirect'));
    await chaos.abort();
    expect(await running.done).toMatchObject({ status: 'aborted', verdict: 'unproven' });
    expect(namespace.rules()).not.toContain('heptad_chaos');
    expect(await request(`http://${namespace.address}:8080/`)).toBeLessThan(150);
    expect((await chaos.status()).faults).toEqual([]);
  });

  const startController = async (directory: string) => {
    const program = fileURLToPath(new URL('./support/chaos-process.ts', import.meta.url));
    const task = { directory, netns: namespace.path, address: namespace.address };
    const child = spawn(process.execPath, ['--conditions=heptad-source', program, JSON.stringify(task)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const said: string[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => said.push(line));
    await until('the fault is there', () => said.some((line) => line.includes('now pass a delay')));
    expect(namespace.rules()).toContain('redirect');
    return child;
  };

  it('vanishes when its controller is killed, and the next controller clears the journal', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'heptad-chaos-'));
    try {
      const child = await startController(directory);
      child.kill('SIGKILL');
      await until('the rules are gone', () => !namespace.rules().includes('heptad_chaos'));
      expect(
        await request(`http://${namespace.address}:8080/`).catch(() =>
          request(`http://${namespace.address}:8080/`),
        ),
      ).toBeLessThan(150);
      expect(await readdir(join(directory, 'faults'))).toHaveLength(1);
      await using next = new ChaosController({
        directory,
        targets: { resolve: async (name) => ({ name, instances: [] }) },
        probe: async () => ({ ok: true }),
      });
      await until('the journal is clear', async () => (await next.status()).faults.length === 0);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  it('vanishes by the kernel when controller, supervisor and all are killed at once', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'heptad-chaos-'));
    try {
      const child = await startController(directory);
      const { execFileSync } = await import('node:child_process');
      const helpers = execFileSync('ip', ['netns', 'pids', namespace.name])
        .toString()
        .split('\n')
        .filter((pid) => pid !== '')
        .filter((pid) =>
          execFileSync('cat', [`/proc/${pid}/cmdline`])
            .toString()
            .includes('helper.ts'),
        );
      expect(helpers.length).toBe(2);
      child.kill('SIGKILL');
      for (const pid of helpers) process.kill(Number(pid), 'SIGKILL');
      // Nobody is left to remove the rules; the ports in their sets time out.
      await until('traffic flows undelayed', async () => {
        const took = await request(`http://${namespace.address}:8080/`).catch(() => Number.POSITIVE_INFINITY);
        return took < 150;
      });
      expect(namespace.rules()).toContain('heptad_chaos');
      await using _next = new ChaosController({
        directory,
        targets: { resolve: async (name) => ({ name, instances: [] }) },
        probe: async () => ({ ok: true }),
      });
      await until('the leftovers are gone', () => !namespace.rules().includes('heptad_chaos'));
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});
