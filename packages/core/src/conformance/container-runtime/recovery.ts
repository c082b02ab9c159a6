// Containers outlive the process that made them, and the next one takes them over.

import assert from 'node:assert/strict';
import type { ContainerRuntime } from '../../contracts/container-runtime.ts';
import type { ContainerRuntimeHarness } from '../container-runtime.ts';
import type { ConformanceCase } from '../suite.ts';
import { eventually, linesOf, patience, run, runtimeCase, scriptSpec, TICK } from './tools.ts';

/** A case for runtimes whose harness can crash them. */
function crashCase(
  name: string,
  body: (harness: ContainerRuntimeHarness, crash: () => Promise<ContainerRuntime>) => Promise<void>,
): ConformanceCase<ContainerRuntimeHarness> {
  return runtimeCase(`recovery: ${name}`, async (harness) => {
    const { crash } = harness;
    if (crash !== undefined) await body(harness, () => crash.call(harness));
  });
}

/** Cases of recovery. */
export const recoveryCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  crashCase(
    'a running container goes on: same process, its log without a gap, and it can be stopped',
    async (harness, crash) => {
      const id = await run(harness, TICK, { labels: { app: 'x' } });
      const before = await harness.runtime.inspect(id);
      const runtime = await crash();
      const recovered = await runtime.recover();
      assert.deepEqual(
        recovered.map((info) => [info.id, info.state, info.pid]),
        [[id, 'running', before.pid]],
      );
      assert.deepEqual((await runtime.inspect(id)).labels, { app: 'x' });
      const seen = (await linesOf({ runtime }, id)).length;
      await eventually('it goes on writing', async () => (await linesOf({ runtime }, id)).length > seen + 2);
      const lines = await linesOf({ runtime }, id);
      assert.deepEqual(
        lines,
        lines.map((_, index) => `tick ${index}`),
      );
      await runtime.stop(id, { graceMs: 0 });
      assert.equal((await runtime.inspect(id)).exit?.exitCode, 137);
      await runtime.remove(id);
      assert.deepEqual(await (harness.leftovers?.(id) ?? []), []);
    },
  ),

  crashCase('one that ended meanwhile is stopped, with its exit code', async (harness, crash) => {
    const id = await run(harness, `setTimeout(() => { console.log('bye'); process.exit(11) }, 400)`);
    const { pid } = await harness.runtime.inspect(id);
    const runtime = await crash();
    await eventually('it ends', async () => !(await isAlive(pid)));
    await runtime.recover();
    const { exitCode } = await runtime.wait(id, 'not-running', patience());
    assert.equal(exitCode, 11);
    assert.equal((await runtime.inspect(id)).state, 'stopped');
    assert.deepEqual(await linesOf({ runtime }, id), ['bye']);
  }),

  crashCase('one never started can be started; stopped ones stay known', async (harness, crash) => {
    const id = await harness.runtime.create(scriptSpec(harness, 'process.exit(12)'));
    const runtime = await crash();
    await runtime.recover();
    assert.equal((await runtime.inspect(id)).state, 'created');
    await runtime.start(id);
    assert.equal((await runtime.wait(id, 'not-running', patience())).exitCode, 12);
  }),

  crashCase('waiting and following work on what was taken over', async (harness, crash) => {
    const id = await run(
      harness,
      `setTimeout(() => console.log('late'), 600); setTimeout(() => process.exit(13), 900)`,
    );
    const runtime = await crash();
    await runtime.recover();
    const signal = patience();
    const [lines, exit] = await Promise.all([
      linesOf({ runtime }, id, { follow: true, signal }),
      runtime.wait(id, 'not-running', signal),
    ]);
    assert.deepEqual(lines, ['late']);
    assert.equal(exit.exitCode, 13);
  }),
];

async function isAlive(pid: number | undefined): Promise<boolean> {
  if (pid === undefined) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
