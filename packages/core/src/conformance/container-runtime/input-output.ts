// What goes in and comes out: environment, logs, exec, secrets.

import assert from 'node:assert/strict';
import type { LogLine } from '../../contracts/container-runtime.ts';
import type { ContainerRuntimeHarness } from '../container-runtime.ts';
import { type ConformanceCase, rejectsWith } from '../suite.ts';
import {
  capabilitiesOf,
  execScript,
  linesOf,
  POLITE,
  patience,
  run,
  runToEnd,
  runtimeCase,
  said,
  TICK,
} from './tools.ts';

const logCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase(
    'logs keep every line of both streams, each in its order, Unicode and long lines included',
    async (harness) => {
      const { stdout, stderr } = await runToEnd(
        harness,
        `for (let i = 0; i < 200; i++) { console.log('o' + i); console.error('e' + i) }
       console.log('é€😀'); console.log('x'.repeat(20000)); console.log(''); console.log('after the empty line')`,
      );
      assert.deepEqual(stdout.slice(0, 201), [...Array.from({ length: 200 }, (_, i) => `o${i}`), 'é€😀']);
      assert.equal(stdout[201]?.length, 20_000);
      assert.deepEqual(stdout.slice(202), ['', 'after the empty line']);
      assert.deepEqual(
        stderr,
        Array.from({ length: 200 }, (_, i) => `e${i}`),
      );
    },
  ),

  runtimeCase(
    'the last words of a process that dies at once are kept, with or without a line end',
    async (harness) => {
      const { stdout, stderr } = await runToEnd(
        harness,
        `require('fs').writeSync(1, 'no end'); require('fs').writeSync(2, 'last\\n'); process.kill(process.pid, 'SIGKILL')`,
      );
      assert.deepEqual(stdout, ['no end']);
      assert.deepEqual(stderr, ['last']);
    },
  ),

  runtimeCase('tail, since, until and stream choose lines', async (harness) => {
    const { id } = await runToEnd(
      harness,
      `console.log('a'); setTimeout(() => { console.error('b'); console.log('c') }, 150)`,
    );
    assert.deepEqual(await linesOf(harness, id, { tail: 1, stream: 'stdout' }), ['c']);
    assert.deepEqual(await linesOf(harness, id, { tail: 0 }), []);
    assert.deepEqual(await linesOf(harness, id, { stream: 'stderr' }), ['b']);
    const all: LogLine[] = [];
    for await (const line of harness.runtime.logs(id)) all.push(line);
    const first = all.find((line) => line.text === 'a');
    const last = all.find((line) => line.text === 'c');
    assert.ok(first !== undefined && last !== undefined && first.at < last.at);
    assert.deepEqual(await linesOf(harness, id, { since: last.at, stream: 'stdout' }), ['c']);
    assert.deepEqual(await linesOf(harness, id, { until: first.at, stream: 'stdout' }), ['a']);
  }),

  runtimeCase(
    'following shows what is there, then each new line, and ends with the container',
    async (harness) => {
      const id = await run(
        harness,
        `let n = 0; const t = setInterval(() => { console.log('line ' + n); if (++n === 5) clearInterval(t) }, 60)`,
      );
      const lines = await linesOf(harness, id, { follow: true, signal: patience() });
      assert.deepEqual(lines, ['line 0', 'line 1', 'line 2', 'line 3', 'line 4']);
    },
  ),

  runtimeCase('following ends quietly when its signal aborts', async (harness) => {
    const id = await run(harness, TICK);
    const stop = new AbortController();
    const lines: string[] = [];
    for await (const line of harness.runtime.logs(id, { follow: true, signal: stop.signal })) {
      lines.push(line.text);
      if (lines.length === 3) stop.abort();
    }
    assert.deepEqual(lines.slice(0, 3), ['tick 0', 'tick 1', 'tick 2']);
  }),
];

const inputCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase('the environment arrives as given', async (harness) => {
    const { stdout } = await runToEnd(
      harness,
      'console.log(JSON.stringify([process.env.A, process.env.B]))',
      {
        environment: { A: '1', B: 'with = and "quotes" and é\nand lines' },
      },
    );
    assert.deepEqual(JSON.parse(stdout[0] ?? ''), ['1', 'with = and "quotes" and é\nand lines']);
  }),

  runtimeCase('the environment of the host does not leak in', async (harness) => {
    process.env.HEPTAD_CONFORMANCE_LEAK = 'leaked';
    try {
      const { stdout } = await runToEnd(harness, 'console.log(process.env.HEPTAD_CONFORMANCE_LEAK)');
      assert.deepEqual(stdout, ['undefined']);
    } finally {
      delete process.env.HEPTAD_CONFORMANCE_LEAK;
    }
  }),

  runtimeCase('arguments arrive as given, without a shell between', async (harness) => {
    const tricky = ['a b', '$HOME', '"q"', "'s'", '*', '', 'é'];
    const { stdout } = await runToEnd(harness, '', {
      command: ['-e', 'console.log(JSON.stringify(process.argv.slice(1)))', '--', ...tricky],
    });
    assert.deepEqual(JSON.parse(stdout[0] ?? ''), tricky);
  }),

  runtimeCase('secrets arrive, and inspect, list and errors do not show them', async (harness) => {
    const secret = 'c0nf0rmance-secret';
    const id = await run(harness, `console.log(process.env.TOKEN.length); ${POLITE}`, {
      environment: { TOKEN: secret, PLAIN: 'x' },
      secretEnvironment: ['TOKEN'],
    });
    await said(harness, id, String(secret.length));
    const shown = JSON.stringify([await harness.runtime.inspect(id), await harness.runtime.list()]);
    assert.ok(!shown.includes(secret), 'inspect shows a secret');
  }),

  runtimeCase('the hands of a container are empty: standard input is at its end', async (harness) => {
    const { stdout } = await runToEnd(
      harness,
      `process.stdin.on('end', () => console.log('end')).on('error', () => console.log('end')).resume()`,
    );
    assert.deepEqual(stdout, ['end']);
  }),
];

const execCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase(
    'exec: output of both streams, input, environment and exit code go through',
    async (harness) => {
      if (!(await capabilitiesOf(harness)).exec) return;
      const id = await run(harness, POLITE);
      const echo = `let s = ''; process.stdin.on('data', (d) => s += d).on('end', () => {
      process.stdout.write('in:' + s + process.env.X); process.stderr.write('err'); process.exitCode = 6 })`;
      const stdin = Buffer.from('h\u00e9llo');
      const answer = await execScript(harness, id, echo, { stdin, environment: { X: '!' } });
      assert.deepEqual(answer, { exitCode: 6, stdout: 'in:héllo!', stderr: 'err' });
    },
  ),

  runtimeCase('exec: a megabyte of output arrives whole', async (harness) => {
    if (!(await capabilitiesOf(harness)).exec) return;
    const id = await run(harness, POLITE);
    const { stdout } = await execScript(harness, id, `process.stdout.write('x'.repeat(1048576))`);
    assert.equal(stdout.length, 1_048_576);
  }),

  runtimeCase('exec: its time limit kills it with TIMEOUT, and the container lives on', async (harness) => {
    if (!(await capabilitiesOf(harness)).exec) return;
    const id = await run(harness, POLITE);
    await rejectsWith('TIMEOUT', () =>
      execScript(harness, id, 'setInterval(() => {}, 1000)', { timeoutMs: 500 }),
    );
    assert.equal((await harness.runtime.inspect(id)).state, 'running');
  }),

  runtimeCase('exec: a signal kills it with the reason', async (harness) => {
    if (!(await capabilitiesOf(harness)).exec) return;
    const id = await run(harness, POLITE);
    const stop = new AbortController();
    const reason = new Error('no longer wanted');
    const running = execScript(harness, id, `console.log('up'); setInterval(() => {}, 1000)`, {
      signal: stop.signal,
    });
    stop.abort(reason);
    await assert.rejects(running, reason);
  }),

  runtimeCase('exec is NOT_SUPPORTED where it is no capability', async (harness) => {
    if ((await capabilitiesOf(harness)).exec) return;
    const id = await run(harness, POLITE);
    await rejectsWith('NOT_SUPPORTED', () => harness.runtime.exec(id, { command: ['true'] }));
  }),
];

/** Cases of input and output. */
export const inputOutputCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  ...logCases,
  ...inputCases,
  ...execCases,
];
