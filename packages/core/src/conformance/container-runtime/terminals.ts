// Attaching, terminals, and execs that are more than a pipe.

import assert from 'node:assert/strict';
import type { AttachSession, ExecOptions, ExecSession } from '../../contracts/container-runtime.ts';
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

/** Counts and repeats what comes in, and says when it has ended. */
const ECHO = `let n = 0; process.stdin.on('data', (d) => { n += d.length; process.stdout.write('got ' + d) })
  .on('end', () => { console.log('end after ' + n); process.exit(4) }); console.log('ready')`;

/** All bytes of a stream as text. */
async function textOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Collects a stream while it runs. */
function collect(stream: AsyncIterable<Uint8Array>): {
  readonly text: () => string;
  readonly done: Promise<void>;
} {
  let text = '';
  const done = (async () => {
    for await (const chunk of stream) text += Buffer.from(chunk).toString();
  })();
  done.catch(() => undefined);
  return { text: () => text, done };
}

const outputCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase(
    'attach: shows what is written from now on, each stream apart, and ends with it',
    async (harness) => {
      if (!(await capabilitiesOf(harness)).attach) return;
      const id = await harness.runtime.create(
        scriptSpec(
          harness,
          `console.log('out'); console.error('err'); setTimeout(() => console.log('late'), 300)`,
        ),
      );
      const session = await harness.runtime.attach(id, { signal: patience() });
      const [stdout, stderr] = [textOf(session.stdout), textOf(session.stderr)];
      await harness.runtime.start(id);
      assert.equal(await stdout, 'out\nlate\n');
      assert.equal(await stderr, 'err\n');
    },
  ),

  runtimeCase('attach: replays all, or the last lines, and goes on without a gap', async (harness) => {
    if (!(await capabilitiesOf(harness)).attach) return;
    const source = `for (let i = 0; i < 50; i++) console.log('line ' + i);
      process.on('SIGUSR2', () => { process.stdout.write(Buffer.from([0xff, 0xfe, 0x00, 0x41])); process.exit() });
      setInterval(() => {}, 1000); console.log('ready')`;
    const id = await run(harness, source);
    await said(harness, id, 'ready');
    const all = await harness.runtime.attach(id, { replay: true, signal: patience() });
    const some = await harness.runtime.attach(id, { replay: 2, signal: patience() });
    const none = await harness.runtime.attach(id, { signal: patience() });
    const texts = [all, some, none].map(async (session) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of session.stdout) chunks.push(chunk);
      return Buffer.concat(chunks).toString('latin1');
    });
    await harness.runtime.kill(id, 'SIGUSR2');
    const lines = [...Array.from({ length: 50 }, (_, index) => `line ${index}\n`), 'ready\n'];
    const [whole, tail, fresh] = await Promise.all(texts);
    assert.equal(tail, `${lines.slice(-2).join('')}\xff\xfe\x00A`);
    assert.equal(whole, `${lines.join('')}\xff\xfe\x00A`);
    assert.equal(fresh, '\xff\xfe\x00A');
  }),

  runtimeCase(
    'attach: a client that does not read holds up neither the container nor others',
    async (harness) => {
      if (!(await capabilitiesOf(harness)).attach) return;
      const source = `const line = 'x'.repeat(1023); let left = 3000;
      (function more() { while (left > 0) { left--; if (!process.stdout.write(line + '\\n')) return process.stdout.once('drain', more) } })()`;
      const id = await harness.runtime.create(scriptSpec(harness, source));
      const lazy = await harness.runtime.attach(id, { replay: true });
      const busy = await harness.runtime.attach(id, { replay: true, signal: patience() });
      const read = textOf(busy.stdout);
      await harness.runtime.start(id);
      await harness.runtime.wait(id, 'not-running', patience());
      assert.equal((await read).length, 3000 * 1024);
      await lazy.detach();
    },
  ),

  runtimeCase('attach: leaving ends the streams and not the container', async (harness) => {
    if (!(await capabilitiesOf(harness)).attach) return;
    const id = await run(harness, POLITE);
    const session = await harness.runtime.attach(id, { replay: true });
    const read = textOf(session.stdout);
    await said(harness, id, 'ready');
    await session.detach();
    assert.match(await read, /^(ready\n)?$/);
    await rejectsWith('NOT_SUPPORTED', () => session.write(Buffer.from('x')));
    assert.equal((await harness.runtime.inspect(id)).state, 'running');
  }),

  runtimeCase('attach: not to one that is stopped', async (harness) => {
    if (!(await capabilitiesOf(harness)).attach) return;
    const id = await run(harness, '');
    await harness.runtime.wait(id, 'not-running', patience());
    await rejectsWith('ILLEGAL_TRANSITION', () => harness.runtime.attach(id));
  }),
];

/** A case for runtimes with open standard input. */
function stdinCase(
  name: string,
  body: (harness: ContainerRuntimeHarness) => Promise<void>,
): ConformanceCase<ContainerRuntimeHarness> {
  return runtimeCase(`stdin: ${name}`, async (harness) => {
    if ((await capabilitiesOf(harness)).stdin) return await body(harness);
    await rejectsWith('NOT_SUPPORTED', () =>
      harness.runtime.create(scriptSpec(harness, ECHO, { openStdin: true })),
    );
  });
}

const stdinCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  stdinCase('what is written arrives; a half-close ends it, and output still comes', async (harness) => {
    const id = await harness.runtime.create(scriptSpec(harness, ECHO, { openStdin: true }));
    const session = await harness.runtime.attach(id, { stdin: true, signal: patience() });
    const read = textOf(session.stdout);
    await harness.runtime.start(id);
    await session.write(Buffer.from('hello '));
    await session.write(Buffer.from('w\u00f6rld\n'));
    await session.end();
    assert.match(await read, /got hello [\s\S]*w\u00f6rld\n[\s\S]*end after 13\n$/);
    assert.equal((await harness.runtime.wait(id, 'not-running', patience())).exitCode, 4);
  }),

  stdinCase('a megabyte arrives whole, while the process is slow to read', async (harness) => {
    const source = `let n = 0, sum = 0; setTimeout(() => process.stdin.on('data', (d) => { n += d.length; for (const b of d) sum = (sum + b) % 65536 })
      .on('end', () => { console.log(n + ' ' + sum); process.exit() }), 500)`;
    const id = await run(harness, source, { openStdin: true });
    const session = await harness.runtime.attach(id, { stdin: true, replay: true, signal: patience() });
    const bytes = Buffer.from(Array.from({ length: 1_048_576 }, (_, index) => index % 251));
    const read = textOf(session.stdout);
    await session.write(bytes);
    await session.end();
    const sum = bytes.reduce((total, byte) => (total + byte) % 65_536, 0);
    assert.equal(await read, `1048576 ${sum}\n`);
  }),

  stdinCase('stays open when a client leaves, for the next and for others', async (harness) => {
    const id = await run(harness, ECHO, { openStdin: true });
    const join = (): Promise<AttachSession> =>
      harness.runtime.attach(id, { stdin: true, signal: patience() });
    const [first, second] = await Promise.all([join(), join()]);
    await first.write(Buffer.from('one\n'));
    await said(harness, id, 'got one');
    await first.detach();
    await second.write(Buffer.from('two\n'));
    await said(harness, id, 'got two');
    await second.detach();
    const third = await join();
    await third.end();
    assert.equal((await harness.runtime.wait(id, 'not-running', patience())).exitCode, 4);
    assert.ok((await linesOf(harness, id)).includes('end after 8'));
  }),

  stdinCase('that was closed from the start cannot be written to', async (harness) => {
    const id = await run(harness, POLITE);
    await rejectsWith('INVALID_ARGUMENT', () => harness.runtime.attach(id, { stdin: true }));
  }),

  stdinCase('recovery: stays open through a crash of ours', async (harness) => {
    const { crash } = harness;
    if (crash === undefined) return;
    const id = await run(harness, ECHO, { openStdin: true });
    const before = await harness.runtime.attach(id, { stdin: true });
    await before.write(Buffer.from('one\n'));
    await said(harness, id, 'got one');
    const runtime = await crash.call(harness);
    await runtime.recover();
    const after = await runtime.attach(id, { stdin: true, signal: patience() });
    await after.write(Buffer.from('two\n'));
    await after.end();
    assert.equal((await runtime.wait(id, 'not-running', patience())).exitCode, 4);
    assert.ok((await linesOf({ runtime }, id)).includes('end after 8'));
  }),
];

/** A case for runtimes with terminals. */
function terminalCase(
  name: string,
  body: (harness: ContainerRuntimeHarness) => Promise<void>,
): ConformanceCase<ContainerRuntimeHarness> {
  return runtimeCase(`tty: ${name}`, async (harness) => {
    if ((await capabilitiesOf(harness)).tty) return await body(harness);
    await rejectsWith('NOT_SUPPORTED', () => harness.runtime.create(scriptSpec(harness, '', { tty: true })));
    const id = await run(harness, POLITE);
    await rejectsWith('NOT_SUPPORTED', () => harness.runtime.exec(id, { command: ['true'], tty: true }));
  });
}

/** Says what terminal it has, and again when that changes; repeats lines typed. */
const TERMINAL = `const size = () => process.stdout.columns + 'x' + process.stdout.rows;
  process.stdout.on('resize', () => console.log('size ' + size()));
  process.on('SIGWINCH', () => {});
  console.log('tty ' + process.stdin.isTTY + process.stdout.isTTY + process.stderr.isTTY + ' ' + process.env.TERM);
  console.log('size ' + size());
  require('readline').createInterface({ input: process.stdin }).on('line', (l) => console.log('typed ' + l))
    .on('close', () => process.exit(9));
  setInterval(() => {}, 1000)`;

/** Runs a line of JavaScript in a terminal. */
async function execInTerminal(
  harness: ContainerRuntimeHarness,
  source: string,
  more: Partial<ExecOptions>,
): Promise<{ session: ExecSession; id: string }> {
  const id = await run(harness, POLITE);
  const command = [harness.node ?? 'node', '-e', source];
  return { session: await harness.runtime.exec(id, { command, tty: true, ...more }), id };
}

/** Input that a test writes as it goes. */
function typing(): { readonly stdin: AsyncIterable<Uint8Array>; type(text: string): void; end(): void } {
  const queue: (Uint8Array | undefined)[] = [];
  let wake = (): void => undefined;
  const put = (item: Uint8Array | undefined): void => {
    queue.push(item);
    wake();
  };
  const stdin = (async function* () {
    for (;;) {
      if (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      const item = queue.shift();
      if (item === undefined) return;
      yield item;
    }
  })();
  return { stdin, type: (text) => put(Buffer.from(text)), end: () => put(undefined) };
}

const terminalCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  terminalCase('a container has a terminal, which can be typed into and resized', async (harness) => {
    const id = await harness.runtime.create(scriptSpec(harness, TERMINAL, { tty: true }));
    const session = await harness.runtime.attach(id, { stdin: true, replay: true, signal: patience() });
    const output = collect(session.stdout);
    await harness.runtime.resize(id, { columns: 101, rows: 33 });
    await harness.runtime.start(id);
    await eventually('it has a terminal', async () => output.text().includes('tty truetruetrue xterm\r\n'));
    await eventually('of the size set', async () => output.text().includes('size 101x33\r\n'));
    await session.write(Buffer.from('hi there\r'));
    await eventually('typing arrives', async () => output.text().includes('typed hi there\r\n'));
    await harness.runtime.resize(id, { columns: 90, rows: 20 });
    await eventually('it is resized', async () => output.text().includes('size 90x20\r\n'));
    assert.equal((await harness.runtime.inspect(id)).tty, true);
    await session.end();
    assert.equal((await harness.runtime.wait(id, 'not-running', patience())).exitCode, 9);
    await output.done;
  }),

  terminalCase('one without a terminal cannot be resized', async (harness) => {
    const id = await run(harness, POLITE);
    await rejectsWith('INVALID_ARGUMENT', () => harness.runtime.resize(id, { columns: 80, rows: 24 }));
    const session = await harness.runtime.exec(id, { command: [harness.node ?? 'node', '-e', ''] });
    await rejectsWith('INVALID_ARGUMENT', () => session.resize({ columns: 80, rows: 24 }));
    await session.exit;
  }),

  terminalCase(
    'exec gets one of the size asked for, echoes, is resized, and ends with its code',
    async (harness) => {
      const { stdin, type } = typing();
      const { session } = await execInTerminal(harness, TERMINAL, { stdin, tty: { columns: 77, rows: 22 } });
      const output = collect(session.stdout);
      await eventually('it has a terminal', async () => output.text().includes('tty truetruetrue xterm\r\n'));
      await eventually('of the size asked for', async () => output.text().includes('size 77x22\r\n'));
      type('w\u00f6rd\r');
      await eventually('typing is echoed and arrives', async () =>
        /w\u00f6rd\r\n[\s\S]*typed w\u00f6rd\r\n/.test(output.text()),
      );
      await session.resize({ columns: 132, rows: 50 });
      await eventually('it is resized', async () => output.text().includes('size 132x50\r\n'));
      await rejectsWith('INVALID_ARGUMENT', () => session.resize({ columns: 0, rows: 50 }));
      type('\x04');
      assert.equal(await session.exit, 9);
      await output.done;
      assert.equal(await textOf(session.stderr), '');
    },
  ),

  terminalCase('the end of input is the end for a program that reads to it', async (harness) => {
    const source = `let s = ''; process.stdin.on('data', (d) => s += d).on('end', () => { console.log('all ' + s.length); process.exit(3) })`;
    const { session } = await execInTerminal(harness, source, { stdin: Buffer.from('a line\nand a half') });
    const text = await textOf(session.stdout);
    assert.match(text, /all 17/);
    assert.equal(await session.exit, 3);
  }),

  terminalCase('a lot of output arrives whole, while there is input too', async (harness) => {
    const source = `process.stdin.resume(); let left = 20000; (function more() { while (left > 0) { left--; if (!process.stdout.write('0123456789\\n')) return process.stdout.once('drain', more) } process.exit(0) })()`;
    const { session } = await execInTerminal(harness, source, { stdin: Buffer.alloc(100_000, 'y\n') });
    const lines = (await textOf(session.stdout)).split('\r\n').filter((line) => line === '0123456789');
    assert.ok(lines.length > 19_000, `${lines.length} lines`);
    assert.equal(await session.exit, 0);
  }),

  terminalCase('one that runs too long is killed, and nothing of it is left', async (harness) => {
    const { session, id } = await execInTerminal(harness, 'setInterval(() => {}, 1000)', { timeoutMs: 500 });
    const output = collect(session.stdout);
    await rejectsWith('TIMEOUT', () => session.exit);
    await output.done;
    if ((await capabilitiesOf(harness)).top) assert.equal((await harness.runtime.top(id)).length, 1);
    assert.equal((await harness.runtime.inspect(id)).state, 'running');
  }),
];

const execCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase('exec: one that is detached runs on by itself', async (harness) => {
    if (!(await capabilitiesOf(harness)).exec) return;
    const id = await run(
      harness,
      `process.on('SIGUSR2', () => console.log('heard')); setInterval(() => {}, 1000); console.log('ready ' + process.pid)`,
    );
    await said(harness, id, 'ready');
    const main = Number((await linesOf(harness, id))[0]?.split(' ')[1]);
    const command = [harness.node ?? 'node', '-e', `process.kill(${main}, 'SIGUSR2'); process.exitCode = 5`];
    const session = await harness.runtime.exec(id, { command, detach: true });
    assert.equal(await textOf(session.stdout), '');
    await said(harness, id, 'heard');
    assert.equal(await session.exit, 5);
  }),

  runtimeCase('exec: contradictions are refused', async (harness) => {
    if (!(await capabilitiesOf(harness)).exec) return;
    const id = await run(harness, POLITE);
    const command = [harness.node ?? 'node', '-e', ''];
    const refused: ExecOptions[] = [
      { command: [] },
      { command, detach: true, stdin: Buffer.from('x') },
      { command, workingDirectory: 'relative' },
    ];
    for (const options of refused) {
      await rejectsWith('INVALID_ARGUMENT', () => harness.runtime.exec(id, options));
    }
  }),

  runtimeCase('exec: start and end are told, with id, command and exit code', async (harness) => {
    if (!(await capabilitiesOf(harness)).exec) return;
    const id = await run(harness, POLITE);
    const command = [harness.node ?? 'node', '-e', 'process.exit(8)'];
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, patience()]);
    const heard: unknown[] = [];
    const listening = (async () => {
      for await (const event of harness.runtime.events({ since: 0, signal })) {
        if (event.exec !== undefined) heard.push([event.type, event.exec]);
        if (event.type === 'exec_die') stop.abort();
      }
    })();
    const session = await harness.runtime.exec(id, { command });
    await Promise.all([textOf(session.stdout), session.exit, listening]);
    const told = { id: session.id, command };
    assert.deepEqual(heard, [
      ['exec_start', told],
      ['exec_die', { ...told, exitCode: 8 }],
    ]);
  }),
];

/** Cases of attaching and of terminals. */
export const terminalAndAttachCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  ...outputCases,
  ...stdinCases,
  ...terminalCases,
  ...execCases,
];
