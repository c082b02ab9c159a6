// The state machine: created, running, stopped, removed; names, ids, errors.

import assert from 'node:assert/strict';
import type { ContainerRuntime } from '../../contracts/container-runtime.ts';
import type { ContainerRuntimeHarness } from '../container-runtime.ts';
import { type ConformanceCase, rejectsWith } from '../suite.ts';
import {
  capabilitiesOf,
  PATIENCE_MS,
  POLITE,
  patience,
  run,
  runToEnd,
  runtimeCase,
  scriptSpec,
  stateOf,
} from './tools.ts';

/** Every operation on a container that takes an id, with arguments that are fine. */
function everyOperation(runtime: ContainerRuntime, id: string): [string, () => Promise<unknown>][] {
  return [
    ['inspect', () => runtime.inspect(id)],
    ['start', () => runtime.start(id)],
    ['stop', () => runtime.stop(id, { graceMs: 0 })],
    ['kill', () => runtime.kill(id, 'SIGTERM')],
    ['remove', () => runtime.remove(id)],
    ['wait', () => runtime.wait(id)],
    ['stats', () => runtime.stats(id)],
    ['logs', () => runtime.logs(id)[Symbol.asyncIterator]().next()],
  ];
}

const stateCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase('probe: a runtime that works says so, and what it can do, as data', async (harness) => {
    const probe = await harness.runtime.probe();
    assert.equal(probe.ok, true, probe.reasons.join('; '));
    for (const [name, value] of Object.entries(probe.capabilities)) {
      assert.equal(typeof value, name === 'isolation' ? 'string' : 'boolean', name);
    }
  }),

  runtimeCase('created -> running -> stopped -> removed', async (harness) => {
    const { runtime } = harness;
    const id = await runtime.create(scriptSpec(harness, POLITE, { name: 'walk' }));
    const created = await runtime.inspect(id);
    assert.equal(created.state, 'created');
    assert.equal(created.name, 'walk');
    assert.equal(created.startedAt, undefined);
    await runtime.start(id);
    const running = await runtime.inspect(id);
    assert.equal(running.state, 'running');
    assert.ok((running.pid ?? 0) > 0, 'a running container has a pid');
    assert.ok((running.startedAt ?? 0) >= running.createdAt);
    await runtime.stop(id, { graceMs: PATIENCE_MS });
    const stopped = await runtime.inspect(id);
    assert.equal(stopped.state, 'stopped');
    assert.equal(stopped.pid, undefined);
    assert.ok(stopped.exit !== undefined && stopped.exit.finishedAt >= stopped.createdAt);
    await runtime.remove(id);
    assert.deepEqual(await runtime.list(), []);
    await rejectsWith('CONTAINER_NOT_FOUND', () => runtime.inspect(id));
  }),

  runtimeCase('a stopped container can be started again', async (harness) => {
    const { id } = await runToEnd(harness, `console.log('once more'); process.exit(4)`);
    await harness.runtime.start(id);
    const { exitCode } = await harness.runtime.wait(id, 'not-running', patience());
    assert.equal(exitCode, 4);
  }),

  runtimeCase('the exit code is the one the process left with', async (harness) => {
    for (const code of [0, 1, 7, 255]) {
      const { exitCode, id } = await runToEnd(harness, `process.exit(${code})`);
      assert.equal(exitCode, code);
      assert.equal((await harness.runtime.inspect(id)).exit?.exitCode, code);
      assert.equal((await harness.runtime.inspect(id)).exit?.oomKilled, false);
    }
  }),

  runtimeCase('illegal transitions are ILLEGAL_TRANSITION with from and to', async (harness) => {
    const { runtime } = harness;
    const { pause, exec } = await capabilitiesOf(harness);
    const refused = async (doing: () => Promise<unknown>, from: string): Promise<void> => {
      const { details } = await rejectsWith('ILLEGAL_TRANSITION', doing);
      assert.equal(details.from, from);
      assert.equal(typeof details.to, 'string');
    };
    const id = await runtime.create(scriptSpec(harness, POLITE));
    await refused(() => runtime.kill(id, 'SIGTERM'), 'created');
    if (pause) await refused(() => runtime.pause(id), 'created');
    if (exec) await refused(() => runtime.exec(id, { command: ['x'] }), 'created');
    await runtime.start(id);
    await refused(() => runtime.start(id), 'running');
    await refused(() => runtime.remove(id), 'running');
    if (pause) await refused(() => runtime.resume(id), 'running');
    assert.equal(await stateOf(harness, id), 'running');
    await runtime.stop(id, { graceMs: 0 });
    await refused(() => runtime.kill(id, 'SIGTERM'), 'stopped');
    if (pause) await refused(() => runtime.pause(id), 'stopped');
  }),

  runtimeCase('stopping a stopped container is no error', async (harness) => {
    const { id } = await runToEnd(harness, '');
    await harness.runtime.stop(id, { graceMs: 0 });
    assert.equal(await stateOf(harness, id), 'stopped');
  }),

  runtimeCase('remove by force takes a running one; nothing of it is left', async (harness) => {
    const id = await run(harness, POLITE);
    await harness.runtime.remove(id, { force: true });
    assert.deepEqual(await harness.runtime.list(), []);
    assert.deepEqual(await (harness.leftovers?.(id) ?? []), []);
  }),

  runtimeCase('remove of a stopped one and of one never started leaves nothing', async (harness) => {
    const { id } = await runToEnd(harness, '');
    const never = await harness.runtime.create(scriptSpec(harness, ''));
    for (const each of [id, never]) {
      await harness.runtime.remove(each);
      assert.deepEqual(await (harness.leftovers?.(each) ?? []), []);
    }
  }),
];

const identityCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase(
    'an id has 64 hexadecimal digits; id, a prefix of 12 and the name all find it',
    async (harness) => {
      const id = await harness.runtime.create(scriptSpec(harness, '', { name: 'found' }));
      assert.match(id, /^[0-9a-f]{64}$/);
      for (const reference of [id, id.slice(0, 12), id.slice(0, 20), 'found']) {
        assert.equal((await harness.runtime.inspect(reference)).id, id);
      }
      await rejectsWith('CONTAINER_NOT_FOUND', () => harness.runtime.inspect(id.slice(0, 6)));
    },
  ),

  runtimeCase('every operation on an unknown container is CONTAINER_NOT_FOUND', async (harness) => {
    for (const reference of ['no-such-container', 'f'.repeat(64)]) {
      for (const [, operation] of everyOperation(harness.runtime, reference)) {
        await rejectsWith('CONTAINER_NOT_FOUND', operation);
      }
    }
  }),

  runtimeCase('a name in use is NAME_IN_USE; a removed container frees it', async (harness) => {
    const { runtime } = harness;
    const spec = scriptSpec(harness, '', { name: 'taken' });
    const id = await runtime.create(spec);
    await rejectsWith('NAME_IN_USE', () => runtime.create(spec));
    assert.equal((await runtime.list()).length, 1);
    await runtime.remove(id);
    await runtime.create(spec);
  }),

  runtimeCase('rename gives it another name in any state, and frees the old one', async (harness) => {
    const { runtime } = harness;
    const id = await run(harness, POLITE, { name: 'before' });
    const other = await runtime.create(scriptSpec(harness, '', { name: 'other' }));
    await rejectsWith('NAME_IN_USE', () => runtime.rename(id, 'other'));
    await rejectsWith('INVALID_ARGUMENT', () => runtime.rename(id, '../x'));
    assert.equal((await runtime.inspect('before')).id, id);
    await runtime.rename(id, 'after');
    assert.equal((await runtime.inspect('after')).name, 'after');
    await rejectsWith('CONTAINER_NOT_FOUND', () => runtime.inspect('before'));
    await runtime.rename(other, 'before');
    assert.equal((await runtime.inspect('before')).id, other);
    await runtime.stop('after', { graceMs: 0 });
  }),

  runtimeCase('inspect tells what runs: command, environment, mounts, secrets as ***', async (harness) => {
    const id = await harness.runtime.create(
      scriptSpec(harness, POLITE, {
        environment: { A: '1', B: 'hidden' },
        secretEnvironment: ['B'],
        labels: { l: 'm' },
      }),
    );
    const info = await harness.runtime.inspect(id);
    assert.deepEqual(info.command.slice(-2), ['-e', POLITE]);
    assert.equal(info.environment.A, '1');
    assert.equal(info.environment.B, '***');
    assert.deepEqual(info.mounts, []);
    assert.equal(info.restartCount, 0);
    assert.equal(info.tty, false);
    assert.equal(info.stopSignal, 'SIGTERM');
  }),

  runtimeCase('of several creations of one name at once exactly one wins', async (harness) => {
    const spec = scriptSpec(harness, '', { name: 'race' });
    const outcomes = await Promise.allSettled([1, 2, 3].map(() => harness.runtime.create(spec)));
    assert.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1);
    assert.equal((await harness.runtime.list()).length, 1);
  }),

  runtimeCase(
    'an image that is not there is IMAGE_NOT_FOUND, and nothing is left behind',
    async (harness) => {
      const spec = scriptSpec(harness, '', { image: harness.missingImage, name: 'nothing' });
      await rejectsWith('IMAGE_NOT_FOUND', () => harness.runtime.create(spec));
      assert.deepEqual(await harness.runtime.list(), []);
      await harness.runtime.create({ ...spec, image: harness.image });
    },
  ),

  runtimeCase('a malformed name is refused, and nothing is left behind', async (harness) => {
    for (const name of ['', '-a', 'a b', '../x', 'x'.repeat(129)]) {
      await assert.rejects(harness.runtime.create(scriptSpec(harness, '', { name })), `name "${name}"`);
    }
    assert.deepEqual(await harness.runtime.list(), []);
  }),

  runtimeCase(
    'a program that does not exist fails to start or ends with 126 or 127; the container can be removed',
    async (harness) => {
      const spec = scriptSpec(harness, '', { entrypoint: ['/no/such/program'], command: [] });
      const outcome = await (async () => {
        const id = await harness.runtime.create(spec);
        await harness.runtime.start(id);
        return (await harness.runtime.wait(id, 'not-running', patience())).exitCode;
      })().catch((error: unknown) => error);
      assert.ok(
        outcome instanceof Error || outcome === 126 || outcome === 127,
        `it answered ${String(outcome)}`,
      );
      for (const left of await harness.runtime.list()) await harness.runtime.remove(left.id, { force: true });
      assert.deepEqual(await harness.runtime.list(), []);
    },
  ),

  runtimeCase('list shows all, or those with all the labels and one of the states', async (harness) => {
    const { runtime } = harness;
    const shop = await runtime.create(scriptSpec(harness, POLITE, { labels: { app: 'shop', tier: 'web' } }));
    const data = await runtime.create(scriptSpec(harness, '', { labels: { app: 'shop', tier: 'data' } }));
    const bare = await runtime.create(scriptSpec(harness, ''));
    await runtime.start(shop);
    const ids = async (filter?: Parameters<typeof runtime.list>[0]): Promise<string[]> =>
      (await runtime.list(filter)).map((info) => info.id).sort();
    assert.deepEqual(await ids(), [shop, data, bare].sort());
    assert.deepEqual(await ids({ labels: { app: 'shop' } }), [shop, data].sort());
    assert.deepEqual(await ids({ labels: { app: 'shop', tier: 'web' } }), [shop]);
    assert.deepEqual(await ids({ states: ['running'] }), [shop]);
    assert.deepEqual(await ids({ states: ['created'], labels: { app: 'shop' } }), [data]);
    assert.deepEqual((await runtime.inspect(shop)).labels, { app: 'shop', tier: 'web' });
  }),

  runtimeCase('many containers live side by side', async (harness) => {
    const codes = await Promise.all(
      Array.from({ length: 5 }, async (_, index) => {
        const { exitCode, stdout } = await runToEnd(
          harness,
          `console.log(${index}); setTimeout(() => process.exit(${index + 10}), 100)`,
        );
        return [exitCode, stdout];
      }),
    );
    assert.deepEqual(
      codes,
      Array.from({ length: 5 }, (_, index) => [index + 10, [String(index)]]),
    );
  }),
];

/** Cases of the state machine and of identity. */
export const lifecycleCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  ...stateCases,
  ...identityCases,
];
