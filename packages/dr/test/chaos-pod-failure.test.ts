// The pod-failure fault on real processes, restarted by a real supervisor.

import { type ChildProcess, spawn } from 'node:child_process';
import { MemoryStateStore } from '@heptad/core';
import { ChaosController } from '@heptad/dr/chaos';
import { afterEach, describe, expect, it } from 'vitest';

let replicas: (ChildProcess | undefined)[] = [];
let restarting = true;

function keepRunning(index: number, delayMs: number): void {
  const mine = replicas;
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  mine[index] = child;
  child.on('exit', () => {
    mine[index] = undefined;
    // A replica of an earlier test has nobody to come back for.
    setTimeout(() => restarting && mine === replicas && keepRunning(index, delayMs), delayMs);
  });
}

afterEach(() => {
  restarting = false;
  for (const child of replicas) child?.kill('SIGKILL');
  replicas = [];
});

const targets = {
  resolve: async (name: string) => ({
    name,
    instances: replicas.flatMap((child, i) =>
      child?.pid === undefined ? [] : [{ id: `worker-${i}`, pid: child.pid }],
    ),
  }),
};
const yaml = (params: string): string => `
experiment:
  name: workers come back
  scenarios:
    - { type: pod-failure, target: worker, params: ${params} }
  metrics:
    - { name: outage, source: 'probe:longest-outage', threshold: '< 10s' }
`;
const probe = async () => ({ ok: replicas.some((child) => child !== undefined), message: 'no worker runs' });
const timing = { steadyMs: 300, probeIntervalMs: 50, observeIntervalMs: 200 };

describe('pod-failure', () => {
  it('kills the processes for real, proves it, and sees them replaced', async () => {
    restarting = true;
    for (let i = 0; i < 3; i += 1) keepRunning(i, 100);
    const before = replicas.map((child) => child?.pid);
    await using chaos = new ChaosController({ store: new MemoryStateStore(), targets, probe, timing });
    const report = await chaos.run(yaml('{ count: 2 }'));
    expect(report).toMatchObject({ status: 'completed', verdict: 'passed' });
    expect(report.scenarios[0]?.proof).toMatchObject({ proven: true });
    const after = replicas.map((child) => child?.pid);
    expect(after.filter((pid) => pid !== undefined && !before.includes(pid))).toHaveLength(2);
  });

  it('goes on killing replacements for its duration', async () => {
    restarting = true;
    for (let i = 0; i < 2; i += 1) keepRunning(i, 50);
    await using chaos = new ChaosController({ store: new MemoryStateStore(), targets, probe, timing });
    const report = await chaos.run(yaml('{ count: 1, duration: 1500ms, interval: 500ms }'));
    expect(report.verdict).toBe('passed');
    const kills = report.timeline.filter(({ message }) => message.startsWith('killed'));
    expect(kills.length).toBeGreaterThanOrEqual(3);
  });

  it('fails when nobody brings the target back', async () => {
    restarting = true;
    for (let i = 0; i < 2; i += 1) keepRunning(i, 50);
    restarting = false;
    await using chaos = new ChaosController({ store: new MemoryStateStore(), targets, probe, timing });
    const report = await chaos.run(yaml('{ count: 1, recovery: 500ms }'));
    expect(report).toMatchObject({ status: 'completed', verdict: 'failed' });
    expect(report.because).toContain('1 of 2 instances run');
  });

  it('injects nothing into a system that is not steady, and concludes nothing', async () => {
    restarting = true;
    keepRunning(0, 50);
    const pid = replicas[0]?.pid;
    const failing = async () => ({ ok: false, message: 'down' });
    await using chaos = new ChaosController({
      store: new MemoryStateStore(),
      targets,
      probe: failing,
      timing,
    });
    const report = await chaos.run(yaml('{}'));
    expect(report).toMatchObject({ status: 'completed', verdict: 'unproven', scenarios: [] });
    expect(replicas[0]?.pid).toBe(pid);
  });
});
