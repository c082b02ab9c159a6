// Stop, kill, pause, wait.

import assert from 'node:assert/strict';
import { systemClock } from '../../ports/node/clock.ts';
import type { ContainerRuntimeHarness } from '../container-runtime.ts';
import { type ConformanceCase, rejectsWith } from '../suite.ts';
import {
  capabilitiesOf,
  eventually,
  linesOf,
  PATIENCE_MS,
  POLITE,
  patience,
  run,
  runToEnd,
  runtimeCase,
  STUBBORN,
  said,
  scriptSpec,
  stateOf,
  TICK,
} from './tools.ts';

/** Exit code of a process killed by SIGKILL: 128 + 9. */
const KILLED = 137;

/** Cases of signals and waiting. */
export const signalCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase(
    'stop asks first: a process that listens leaves by itself, with its own code',
    async (harness) => {
      const id = await run(harness, POLITE);
      await said(harness, id, 'ready');
      await harness.runtime.stop(id, { graceMs: PATIENCE_MS });
      assert.equal((await harness.runtime.inspect(id)).exit?.exitCode, 3);
    },
  ),

  runtimeCase('stop kills what does not listen once its grace is over', async (harness) => {
    const id = await run(harness, STUBBORN);
    await said(harness, id, 'ready');
    await harness.runtime.stop(id, { graceMs: 300 });
    assert.equal(await stateOf(harness, id), 'stopped');
    assert.equal((await harness.runtime.inspect(id)).exit?.exitCode, KILLED);
  }),

  runtimeCase('stop with no grace kills at once', async (harness) => {
    const id = await run(harness, POLITE);
    await said(harness, id, 'ready');
    await harness.runtime.stop(id, { graceMs: 0 });
    assert.equal((await harness.runtime.inspect(id)).exit?.exitCode, KILLED);
  }),

  runtimeCase('stop sends the stop signal of the spec', async (harness) => {
    const source = `process.on('SIGUSR2', () => process.exit(42)); setInterval(() => {}, 1000); console.log('ready')`;
    const id = await run(harness, source, { stopSignal: 'SIGUSR2' });
    await said(harness, id, 'ready');
    await harness.runtime.stop(id, { graceMs: PATIENCE_MS });
    assert.equal((await harness.runtime.inspect(id)).exit?.exitCode, 42);
  }),

  runtimeCase('kill delivers any signal, by name or number', async (harness) => {
    const source = `for (const s of ['SIGHUP', 'SIGUSR2']) process.on(s, () => console.log('got ' + s));
      setInterval(() => {}, 1000); console.log('ready')`;
    const id = await run(harness, source);
    await said(harness, id, 'ready');
    await harness.runtime.kill(id, 'SIGHUP');
    await said(harness, id, 'got SIGHUP');
    await harness.runtime.kill(id, 12);
    await said(harness, id, 'got SIGUSR2');
    assert.equal(await stateOf(harness, id), 'running');
    await harness.runtime.kill(id, 'SIGKILL');
    assert.equal((await harness.runtime.wait(id)).exitCode, KILLED);
  }),

  runtimeCase('an unknown signal is refused and harms nobody', async (harness) => {
    const id = await run(harness, POLITE);
    await assert.rejects(harness.runtime.kill(id, 'SIGNONSENSE'));
    assert.equal(await stateOf(harness, id), 'running');
  }),

  runtimeCase('pause stops time for the container, resume gives it back', async (harness) => {
    const { runtime } = harness;
    const id = await run(harness, TICK);
    await said(harness, id, 'tick 1');
    if (!(await capabilitiesOf(harness)).pause) {
      await rejectsWith('NOT_SUPPORTED', () => runtime.pause(id));
      return;
    }
    await runtime.pause(id);
    assert.equal(await stateOf(harness, id), 'paused');
    // What was written before the pause may still be on its way into the log.
    await systemClock.sleep(300);
    const before = (await linesOf(harness, id)).length;
    await systemClock.sleep(500);
    assert.equal((await linesOf(harness, id)).length, before, 'a paused container went on writing');
    await runtime.resume(id);
    assert.equal(await stateOf(harness, id), 'running');
    await eventually('it goes on', async () => (await linesOf(harness, id)).length > before);
  }),

  runtimeCase('a paused container can be stopped', async (harness) => {
    if (!(await capabilitiesOf(harness)).pause) return;
    const id = await run(harness, TICK);
    await harness.runtime.pause(id);
    await harness.runtime.stop(id, { graceMs: 200 });
    assert.equal(await stateOf(harness, id), 'stopped');
  }),

  runtimeCase('wait answers at once for one created or stopped, later for one running', async (harness) => {
    const { runtime } = harness;
    const created = await runtime.create(scriptSpec(harness, ''));
    assert.equal((await runtime.wait(created)).exitCode, 0);
    const { id } = await runToEnd(harness, 'process.exit(9)');
    assert.equal((await runtime.wait(id)).exitCode, 9);
    const running = await run(harness, 'setTimeout(() => process.exit(8), 200)');
    const [first, second] = await Promise.all([runtime.wait(running), runtime.wait(running, 'not-running')]);
    assert.deepEqual([first.exitCode, second.exitCode], [8, 8]);
  }),

  runtimeCase('wait for the next exit ignores that it has ended before', async (harness) => {
    const { id } = await runToEnd(harness, 'setTimeout(() => process.exit(6), 200)');
    const next = harness.runtime.wait(id, 'next-exit', patience());
    await harness.runtime.start(id);
    assert.equal((await next).exitCode, 6);
    assert.equal((await harness.runtime.inspect(id)).state, 'stopped');
  }),

  runtimeCase('kill of all reaches the children too', async (harness) => {
    const child = `process.on('SIGUSR2', () => { console.log('child got it'); process.exit() }); setInterval(() => {}, 1000); console.log('child ready')`;
    const id = await run(
      harness,
      `process.on('SIGUSR2', () => console.log('main got it')); setInterval(() => {}, 1000);
       require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { stdio: 'inherit' })`,
    );
    await said(harness, id, 'child ready');
    await harness.runtime.kill(id, 'SIGUSR2', { all: true });
    await said(harness, id, 'child got it');
    await said(harness, id, 'main got it');
    assert.equal(await stateOf(harness, id), 'running');
  }),

  runtimeCase('wait for removal resolves when it is removed', async (harness) => {
    const { id } = await runToEnd(harness, 'process.exit(5)');
    const removed = harness.runtime.wait(id, 'removed', patience());
    await harness.runtime.remove(id);
    assert.equal((await removed).exitCode, 5);
  }),

  runtimeCase('wait rejects with the reason of its signal', async (harness) => {
    const id = await run(harness, POLITE);
    const stop = new AbortController();
    const waiting = harness.runtime.wait(id, 'not-running', stop.signal);
    const reason = new Error('enough');
    stop.abort(reason);
    await assert.rejects(waiting, reason);
    assert.equal(await stateOf(harness, id), 'running');
  }),
];
