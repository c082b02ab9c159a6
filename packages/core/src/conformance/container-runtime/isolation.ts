// Walls and limits: what a runtime that claims isolation must really hold; what it lacks it must say.

import assert from 'node:assert/strict';
import type { ContainerRuntimeHarness } from '../container-runtime.ts';
import { type ConformanceCase, rejectsWith } from '../suite.ts';
import { capabilitiesOf, eventually, execScript, POLITE, run, runToEnd, runtimeCase, said } from './tools.ts';

/** Is the case for containers with walls of their own? */
async function walled(harness: ContainerRuntimeHarness): Promise<boolean> {
  return (await capabilitiesOf(harness)).isolation !== 'process';
}

const MIB = 1024 * 1024;

const wallCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase('isolation: inspect says the isolation the probe promised', async (harness) => {
    const id = await run(harness, POLITE);
    const { isolation } = await capabilitiesOf(harness);
    assert.equal((await harness.runtime.inspect(id)).isolation, isolation);
  }),

  runtimeCase('isolation: it sees only its own processes, host name and files', async (harness) => {
    if (!(await walled(harness))) return;
    const { stdout } = await runToEnd(
      harness,
      `const fs = require('fs'), os = require('os');
       const pids = fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name));
       fs.writeFileSync('/written', 'x');
       console.log(JSON.stringify({ pids: pids.length, host: os.hostname(), pid: process.pid }))`,
      { hostname: 'inside' },
    );
    const seen: unknown = JSON.parse(stdout[0] ?? '');
    assert.deepEqual(seen, { pids: 1, host: 'inside', pid: 1 });
    const { stdout: second } = await runToEnd(harness, `console.log(require('fs').existsSync('/written'))`);
    assert.deepEqual(second, ['false'], 'one container sees what another wrote');
  }),

  runtimeCase(
    'isolation: it cannot gain privileges, mount, or write the kernel settings',
    async (harness) => {
      if (!(await walled(harness))) return;
      const { stdout } = await runToEnd(
        harness,
        `const fs = require('fs'); const status = fs.readFileSync('/proc/self/status', 'utf8');
       const of = (name) => new RegExp('^' + name + ':\\\\s*(\\\\S+)', 'm').exec(status)?.[1];
       let sysctl = 'written'; try { fs.writeFileSync('/proc/sys/kernel/hostname', 'x') } catch { sysctl = 'refused' }
       console.log(JSON.stringify({ nnp: of('NoNewPrivs'), sysctl, admin: (BigInt('0x' + of('CapEff')) >> 21n & 1n) === 1n }))`,
      );
      assert.deepEqual(JSON.parse(stdout[0] ?? ''), { nnp: '1', sysctl: 'refused', admin: false });
    },
  ),

  runtimeCase('isolation: a read-only root refuses writes', async (harness) => {
    if (!(await walled(harness))) return;
    const { stdout } = await runToEnd(
      harness,
      `try { require('fs').writeFileSync('/x', 'x'); console.log('written') } catch (e) { console.log(e.code) }`,
      { readOnlyRootfs: true },
    );
    assert.deepEqual(stdout, ['EROFS']);
  }),

  runtimeCase('secret files are in memory, readable inside, and gone from inspect', async (harness) => {
    if (!(await walled(harness))) return;
    const content = 'file-secret-5e1f';
    const { stdout, id } = await runToEnd(
      harness,
      `const fs = require('fs'); console.log(fs.readFileSync('/run/secrets/key', 'utf8'), (fs.statSync('/run/secrets/key').mode & 0o777).toString(8))`,
      { secrets: [{ target: '/run/secrets/key', content }] },
    );
    assert.deepEqual(stdout, [`${content} 400`]);
    assert.ok(!JSON.stringify(await harness.runtime.inspect(id)).includes(content));
  }),

  runtimeCase('volumes outlive containers; tmpfs does not', async (harness) => {
    if (!(await walled(harness))) return;
    const mounts = [
      { type: 'volume', name: 'conformance-volume', target: '/data' },
      { type: 'tmpfs', target: '/scratch', sizeBytes: MIB },
    ] as const;
    const write = `for (const d of ['/data', '/scratch']) require('fs').writeFileSync(d + '/f', 'kept')`;
    const { id } = await runToEnd(harness, write, { mounts });
    await harness.runtime.remove(id);
    const { stdout } = await runToEnd(
      harness,
      `for (const d of ['/data', '/scratch']) console.log(require('fs').existsSync(d + '/f'))`,
      { mounts },
    );
    assert.deepEqual(stdout, ['true', 'false']);
  }),
];

const limitCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase(
    'limits: a container over its memory limit is killed, and inspect says why',
    async (harness) => {
      if (!(await capabilitiesOf(harness)).limits) return;
      const { id, exitCode } = await runToEnd(
        harness,
        `const keep = []; for (;;) keep.push(Buffer.alloc(4 << 20, 1))`,
        { limits: { memoryBytes: 96 * MIB } },
      );
      assert.equal(exitCode, 137);
      assert.equal((await harness.runtime.inspect(id)).exit?.oomKilled, true);
    },
  ),

  runtimeCase('limits: the number of processes is bounded', async (harness) => {
    const { limits } = await capabilitiesOf(harness);
    if (!limits || !(await walled(harness))) return;
    const { stdout } = await runToEnd(
      harness,
      `const { spawn } = require('child_process'); let failed = false;
       const kids = []; for (let i = 0; i < 60; i++) { const k = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 5000)']);
       k.on('error', () => { failed = true }); kids.push(k) }
       setTimeout(() => { console.log(failed ? 'bounded' : 'unbounded'); process.exit(0) }, 500)`,
      { limits: { pids: 40 } },
    );
    assert.deepEqual(stdout, ['bounded']);
  }),

  runtimeCase('limits can be changed while it runs, or say NOT_SUPPORTED', async (harness) => {
    const { update } = await capabilitiesOf(harness);
    const id = await run(harness, POLITE, { limits: {} });
    await said(harness, id, 'ready');
    const limits = { cpuMillis: 500, memoryBytes: 256 * MIB };
    if (!update) {
      await rejectsWith('NOT_SUPPORTED', () => harness.runtime.update(id, limits));
      return;
    }
    await harness.runtime.update(id, limits);
    const info = await harness.runtime.inspect(id);
    assert.equal(info.limits.cpuMillis, 500);
    assert.equal(info.limits.memoryBytes, 256 * MIB);
    assert.equal((await harness.runtime.stats(id)).memoryLimitBytes, 256 * MIB);
    assert.equal(info.state, 'running');
  }),

  runtimeCase('limits changed once it has ended hold from its next start', async (harness) => {
    const { update, limits } = await capabilitiesOf(harness);
    if (!update || !limits) return;
    const { id } = await runToEnd(
      harness,
      POLITE.replace('setInterval(() => {}, 1000);', 'setTimeout(() => {}, 1500);'),
      {
        limits: { memoryBytes: 256 * MIB },
      },
    );
    await harness.runtime.update(id, { memoryBytes: 200 * MIB });
    assert.equal((await harness.runtime.inspect(id)).limits.memoryBytes, 200 * MIB);
    await harness.runtime.start(id);
    assert.equal((await harness.runtime.stats(id)).memoryLimitBytes, 200 * MIB);
    await harness.runtime.stop(id, { graceMs: 0 });
  }),

  runtimeCase('stats of a running container grow with what it does', async (harness) => {
    const id = await run(harness, `while (process.cpuUsage().user < 300000); ${POLITE}`);
    await said(harness, id, 'ready');
    const stats = await harness.runtime.stats(id);
    assert.ok(stats.memoryBytes > MIB, `memory ${stats.memoryBytes}`);
    assert.ok(stats.cpuUsageNs > 100_000_000, `cpu ${stats.cpuUsageNs}`);
    assert.ok(stats.pids >= 1);
    await harness.runtime.stop(id, { graceMs: 0 });
    await rejectsWith('ILLEGAL_TRANSITION', () => harness.runtime.stats(id));
  }),
];

const networkCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase(
    'network: its address answers from outside, and /etc/hosts can be rewritten while it runs',
    async (harness) => {
      const { networks, exec } = await capabilitiesOf(harness);
      const source = `require('http').createServer((q, r) => r.end('hello')).listen(8080, () => console.log('ready'))`;
      if (!networks) {
        const id = await run(harness, POLITE);
        await rejectsWith('NOT_SUPPORTED', () => harness.runtime.setHosts(id, { other: '10.0.0.1' }));
        return;
      }
      const id = await run(harness, source, { hosts: { first: '10.9.9.1' } });
      await said(harness, id, 'ready');
      const { address } = await harness.runtime.inspect(id);
      assert.ok(address !== undefined, 'a container on a network has an address');
      await eventually('it answers', async () => {
        const answer = await fetch(`http://${address}:8080/`).catch(() => undefined);
        return (await answer?.text()) === 'hello';
      });
      if (!exec) return;
      const hosts = async (): Promise<string> =>
        (
          await execScript(
            harness,
            id,
            `process.stdout.write(require('fs').readFileSync('/etc/hosts', 'utf8'))`,
          )
        ).stdout;
      assert.match(await hosts(), /^10\.9\.9\.1\s+first$/m);
      await harness.runtime.setHosts(id, { second: '10.9.9.2' });
      assert.match(await hosts(), /^10\.9\.9\.2\s+second$/m);
      assert.doesNotMatch(await hosts(), /first/);
      assert.match(await hosts(), /localhost/);
    },
  ),
];

/** Cases of isolation, limits and networks. */
export const isolationCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  ...wallCases,
  ...limitCases,
  ...networkCases,
];
