// Restart policies and health checks: what is done with a container without anybody asking.

import assert from 'node:assert/strict';
import type { ContainerEvent, ContainerHealthCheck } from '../../contracts/container-runtime.ts';
import { systemClock } from '../../ports/node/clock.ts';
import type { ContainerRuntimeHarness } from '../container-runtime.ts';
import { type ConformanceCase, rejectsWith } from '../suite.ts';
import {
  capabilitiesOf,
  eventually,
  linesOf,
  POLITE,
  patience,
  run,
  runtimeCase,
  said,
  scriptSpec,
} from './tools.ts';

const CRASH = `console.log('run'); process.exit(1)`;

/** How often it has been restarted. */
async function restartsOf(harness: ContainerRuntimeHarness, id: string): Promise<number> {
  return (await harness.runtime.inspect(id)).restartCount;
}

/** The types of all events of a container so far. */
async function eventTypes(harness: ContainerRuntimeHarness, id: string): Promise<ContainerEvent['type'][]> {
  const stop = new AbortController();
  const types: ContainerEvent['type'][] = [];
  systemClock.timer(500, () => stop.abort());
  for await (const event of harness.runtime.events({ since: 0, signal: stop.signal })) {
    if (event.id === id) types.push(event.type);
  }
  return types;
}

const policyCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase('restart: always starts it again and again, until it is stopped', async (harness) => {
    const id = await run(harness, CRASH, { restart: { policy: 'always' } });
    await eventually('it is restarted twice', async () => (await restartsOf(harness, id)) >= 2);
    await harness.runtime.stop(id, { graceMs: 0 });
    const { state, restartAt, restartCount } = await harness.runtime.inspect(id);
    assert.equal(state, 'stopped');
    assert.equal(restartAt, undefined);
    await systemClock.sleep(1_000);
    assert.equal(await restartsOf(harness, id), restartCount, 'it was restarted after stop');
    assert.ok((await linesOf(harness, id)).length >= 2);
  }),

  runtimeCase('restart: no is the default', async (harness) => {
    const id = await run(harness, CRASH);
    await harness.runtime.wait(id, 'not-running', patience());
    const info = await harness.runtime.inspect(id);
    assert.equal(info.restartAt, undefined);
    assert.equal(info.restart.policy, 'no');
    assert.equal(info.exitedBy, 'itself');
  }),

  runtimeCase('restart: on-failure leaves a success alone and gives up after maxRetries', async (harness) => {
    const fine = await run(harness, 'process.exit(0)', { restart: { policy: 'on-failure' } });
    await harness.runtime.wait(fine, 'not-running', patience());
    assert.equal((await harness.runtime.inspect(fine)).restartAt, undefined);
    const id = await run(harness, CRASH, { restart: { policy: 'on-failure', maxRetries: 2 } });
    await eventually('it gives up', async () => {
      const info = await harness.runtime.inspect(id);
      return info.restartCount === 2 && info.state === 'stopped' && info.restartAt === undefined;
    });
    assert.deepEqual(await linesOf(harness, id), ['run', 'run', 'run']);
  }),

  runtimeCase(
    'restart: what was killed by hand stays down, and a start by hand begins anew',
    async (harness) => {
      const id = await run(harness, POLITE, { restart: { policy: 'unless-stopped' } });
      await said(harness, id, 'ready');
      await harness.runtime.kill(id, 'SIGKILL');
      await harness.runtime.wait(id, 'not-running', patience());
      const info = await harness.runtime.inspect(id);
      assert.equal(info.exitedBy, 'kill');
      assert.equal(info.restartAt, undefined);
      await harness.runtime.start(id);
      assert.equal(await restartsOf(harness, id), 0);
    },
  ),

  runtimeCase('restart: one that waits for its restart can be removed', async (harness) => {
    const id = await run(harness, CRASH, { restart: { policy: 'always' } });
    await eventually('a restart is due', async () => {
      return (await harness.runtime.inspect(id)).restartAt !== undefined;
    });
    await harness.runtime.remove(id, { force: true });
    await systemClock.sleep(500);
    assert.deepEqual(await harness.runtime.list(), []);
    assert.deepEqual(await (harness.leftovers?.(id) ?? []), []);
  }),

  runtimeCase('restart: each is told as die, restart, start', async (harness) => {
    const id = await run(harness, CRASH, { restart: { policy: 'on-failure', maxRetries: 1 } });
    await eventually('it gives up', async () => {
      const info = await harness.runtime.inspect(id);
      return info.restartCount === 1 && info.state === 'stopped' && info.restartAt === undefined;
    });
    assert.deepEqual(await eventTypes(harness, id), ['create', 'start', 'die', 'restart', 'start', 'die']);
  }),

  runtimeCase('restart: a policy that is not known is refused', async (harness) => {
    const spec = scriptSpec(harness, '', { restart: { policy: 'always', maxRetries: 3 } });
    await rejectsWith('INVALID_ARGUMENT', () => harness.runtime.create(spec));
    assert.deepEqual(await harness.runtime.list(), []);
  }),

  runtimeCase('recovery: what ended while nobody watched is restarted by its policy', async (harness) => {
    const { crash } = harness;
    if (crash === undefined) return;
    const wait = `console.log('run'); setTimeout(() => process.exit(1), 400)`;
    const id = await run(harness, wait, { restart: { policy: 'always' } });
    const never = await run(harness, wait);
    await said(harness, never, 'run');
    const runtime = await crash.call(harness);
    await systemClock.sleep(1_500);
    await runtime.recover();
    await eventually('it runs again', async () => (await runtime.inspect(id)).restartCount >= 1);
    assert.equal((await runtime.inspect(never)).state, 'stopped');
    await runtime.stop(id, { graceMs: 0 });
  }),
];

/** A health check by a line of JavaScript. */
function check(
  harness: ContainerRuntimeHarness,
  source: string,
  more: Partial<ContainerHealthCheck> = {},
): ContainerHealthCheck {
  return {
    command: [harness.node ?? 'node', '-e', source],
    intervalMs: 50,
    retries: 2,
    onUnhealthy: 'none',
    ...more,
  };
}

/** A case for runtimes with exec, without which there are no health checks. */
function healthCase(
  name: string,
  body: (harness: ContainerRuntimeHarness) => Promise<void>,
): ConformanceCase<ContainerRuntimeHarness> {
  return runtimeCase(`health: ${name}`, async (harness) => {
    if ((await capabilitiesOf(harness)).exec) return await body(harness);
    const healthCheck = check(harness, '');
    await rejectsWith('NOT_SUPPORTED', () =>
      harness.runtime.create(scriptSpec(harness, '', { healthCheck })),
    );
  });
}

const healthCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  healthCase(
    'a check that succeeds makes it healthy, and inspect shows the last results',
    async (harness) => {
      const healthCheck = check(harness, `console.log('fine')`);
      const id = await run(harness, POLITE, { healthCheck });
      assert.equal((await harness.runtime.inspect(id)).health?.status, 'starting');
      await eventually('it is healthy', async () => {
        const { health } = await harness.runtime.inspect(id);
        return health?.status === 'healthy' && health.results.length >= 2;
      });
      const { health } = await harness.runtime.inspect(id);
      assert.ok((health?.results.length ?? 0) <= 5);
      assert.deepEqual([health?.results[0]?.exitCode, health?.results[0]?.output], [0, 'fine\n']);
      assert.ok((await eventTypes(harness, id)).includes('health_status'));
    },
  ),

  healthCase('failures in a row make it unhealthy, with their exit code and words', async (harness) => {
    const healthCheck = check(harness, `console.error('sick'); process.exit(5)`);
    const id = await run(harness, POLITE, { healthCheck });
    await eventually('it is unhealthy', async () => {
      return (await harness.runtime.inspect(id)).health?.status === 'unhealthy';
    });
    const { health, state } = await harness.runtime.inspect(id);
    assert.equal(state, 'running');
    assert.ok((health?.failingStreak ?? 0) >= 2);
    assert.deepEqual([health?.results[0]?.exitCode, health?.results[0]?.output], [5, 'sick\n']);
  }),

  healthCase('a check that takes too long is killed and has failed', async (harness) => {
    const healthCheck = check(harness, 'setInterval(() => {}, 1000)', { timeoutMs: 300 });
    const id = await run(harness, POLITE, { healthCheck });
    await eventually('it is unhealthy', async () => {
      return (await harness.runtime.inspect(id)).health?.status === 'unhealthy';
    });
    const { health } = await harness.runtime.inspect(id);
    assert.equal(health?.results[0]?.exitCode, -1);
    assert.match(health?.results[0]?.output ?? '', /300 ms/);
    if (!(await capabilitiesOf(harness)).top) return;
    await eventually('no killed check is left', async () => {
      // The main process, and perhaps the next check.
      return (await harness.runtime.top(id)).length <= 2;
    });
  }),

  healthCase('an unhealthy one is restarted when that is asked for', async (harness) => {
    const healthCheck = check(harness, 'process.exit(1)', { onUnhealthy: 'restart' });
    const id = await run(harness, POLITE, { healthCheck });
    await eventually('it is restarted', async () => (await restartsOf(harness, id)) >= 1);
    // A runtime whose containers take seconds to start counts the restart before the start is told of.
    await eventually('it is started again', async () => {
      const told = await eventTypes(harness, id);
      return told.lastIndexOf('start') > told.indexOf('restart');
    });
    const types = await eventTypes(harness, id);
    const sick = types.indexOf('health_status');
    const relevant = types
      .slice(sick)
      .filter((type) => ['health_status', 'die', 'restart', 'start'].includes(type));
    assert.deepEqual(relevant.slice(0, 4), ['health_status', 'die', 'restart', 'start']);
  }),

  healthCase('an unhealthy one is stopped for good when that is asked for', async (harness) => {
    const healthCheck = check(harness, 'process.exit(1)', { onUnhealthy: 'stop' });
    const id = await run(harness, POLITE, { healthCheck, restart: { policy: 'always' } });
    await said(harness, id, 'ready');
    await harness.runtime.wait(id, 'not-running', patience());
    const info = await harness.runtime.inspect(id);
    assert.equal(info.exitedBy, 'unhealthy');
    assert.equal(info.restartAt, undefined);
  }),
];

/** Cases of restarts and health. */
export const restartCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  ...policyCases,
  ...healthCases,
];
