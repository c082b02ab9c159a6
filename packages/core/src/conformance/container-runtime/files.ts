// A container's files: copied in and out, compared with the image, exported, and made an image of.

import assert from 'node:assert/strict';
import type { ContainerId, FileChange } from '../../contracts/container-runtime.ts';
import type { ContainerRuntimeHarness } from '../container-runtime.ts';
import { type ConformanceCase, rejectsWith } from '../suite.ts';
import {
  capabilitiesOf,
  eventually,
  linesOf,
  POLITE,
  patience,
  run,
  runToEnd,
  runtimeCase,
  said,
  scriptSpec,
} from './tools.ts';

const BLOCK = 512;

/** An entry of an archive, as far as these cases look. */
interface Entry {
  readonly name: string;
  readonly flag?: string;
  readonly content?: string;
  readonly link?: string;
  readonly mode?: number;
  readonly uid?: number;
}

/** A tar archive of small entries. */
async function* tarOf(entries: readonly Entry[]): AsyncGenerator<Uint8Array> {
  for (const { name, flag = '0', content = '', link = '', mode = 0o644, uid = 0 } of entries) {
    const block = Buffer.alloc(BLOCK);
    const bytes = Buffer.from(content);
    const octal = (at: number, length: number, value: number): void => {
      block.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1');
    };
    block.write(name, 0);
    octal(100, 8, mode);
    octal(108, 8, uid);
    octal(116, 8, uid);
    octal(124, 12, bytes.length);
    octal(136, 12, 1_000_000_000);
    block.fill(0x20, 148, 156);
    block.write(flag, 156);
    block.write(link, 157);
    block.write('ustar\x0000', 257, 'latin1');
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    yield block;
    yield bytes;
    yield Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK);
  }
  yield Buffer.alloc(2 * BLOCK);
}

/** Names and contents in an archive, extended headers left out. */
async function entriesOf(content: AsyncIterable<Uint8Array>): Promise<Map<string, string>> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  const entries = new Map<string, string>();
  for (let at = 0; at + BLOCK <= bytes.length; ) {
    const text = (from: number, length: number): string =>
      bytes.toString('latin1', at + from, at + from + length).replace(/\0.*$/s, '');
    if (text(0, 100) === '') break;
    const size = Number.parseInt(text(124, 12).trim() || '0', 8);
    const flag = text(156, 1);
    if (flag !== 'x' && flag !== 'g')
      entries.set(text(0, 100).replace(/\/$/, ''), bytes.toString('utf8', at + BLOCK, at + BLOCK + size));
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return entries;
}

/** A case for runtimes that can copy. */
function copyCase(
  name: string,
  body: (harness: ContainerRuntimeHarness) => Promise<void>,
): ConformanceCase<ContainerRuntimeHarness> {
  return runtimeCase(`copy: ${name}`, async (harness) => {
    if ((await capabilitiesOf(harness)).copy) return await body(harness);
    const id = await run(harness, POLITE);
    await rejectsWith('NOT_SUPPORTED', () => harness.runtime.statPath(id, '/'));
    await rejectsWith('NOT_SUPPORTED', () => harness.runtime.copyOut(id, '/'));
    await rejectsWith('NOT_SUPPORTED', () => harness.runtime.copyIn(id, '/', tarOf([])));
  });
}

const WRITE = `const fs = require('fs'); fs.mkdirSync('/work/deep', { recursive: true });
  fs.writeFileSync('/work/a', 'alpha'); fs.writeFileSync('/work/deep/b', 'beta');
  fs.symlinkSync('/work/deep', '/work/absolute'); fs.symlinkSync('../../../../work/a', '/work/up');
  fs.symlinkSync('/etc/passwd', '/work/passwd'); fs.chmodSync('/work/a', 0o640);`;

async function outOf(
  harness: ContainerRuntimeHarness,
  id: ContainerId,
  path: string,
): Promise<Map<string, string>> {
  return await entriesOf((await harness.runtime.copyOut(id, path)).content);
}

const copyCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  copyCase('a file and a directory come out, of one that runs and of one that has ended', async (harness) => {
    const { runtime } = harness;
    const running = await run(harness, `${WRITE} ${POLITE}`);
    await said(harness, running, 'ready');
    const { id: ended } = await runToEnd(harness, WRITE);
    for (const id of [running, ended]) {
      assert.deepEqual([...(await outOf(harness, id, '/work/a'))], [['a', 'alpha']]);
      const directory = await outOf(harness, id, '/work/deep/');
      assert.deepEqual([...directory.keys()].sort(), ['deep', 'deep/b']);
      assert.equal(directory.get('deep/b'), 'beta');
      assert.deepEqual([...(await outOf(harness, id, '/work/absolute/b'))], [['b', 'beta']]);
      const stat = await runtime.statPath(id, '/work/a');
      assert.deepEqual([stat.name, stat.type, stat.sizeBytes, stat.mode], ['a', 'file', 5, 0o640]);
      const link = await runtime.statPath(id, '/work/up');
      assert.deepEqual([link.type, link.linkTarget], ['symlink', '../../../../work/a']);
      assert.equal((await runtime.statPath(id, '/work/absolute/')).type, 'directory');
      for (const path of ['/nothing', '/work/a/b', '/work/nothing/x'])
        await rejectsWith('PATH_NOT_FOUND', () => runtime.statPath(id, path));
      await rejectsWith('PATH_NOT_FOUND', () => runtime.copyOut(id, '/nothing'));
    }
  }),

  copyCase('what comes in is there with content, mode, owner and links, running or not', async (harness) => {
    const { runtime } = harness;
    const show = `const fs = require('fs'); const s = fs.statSync('/in/dir/file');
      console.log(fs.readFileSync('/in/dir/file', 'utf8') + ' ' + (s.mode & 0o7777).toString(8) + ' ' + s.uid + ' ' + s.nlink
      + ' ' + fs.readlinkSync('/in/link') + ' ' + s.mtimeMs / 1000)`;
    const entries: Entry[] = [
      { name: 'dir/', flag: '5', mode: 0o755 },
      { name: 'dir/file', content: 'first' },
      { name: 'dir/file', content: 'second', mode: 0o604, uid: 1234 },
      { name: 'hard', flag: '1', link: 'dir/file', mode: 0o604, uid: 1234 },
      { name: 'link', flag: '2', link: 'dir/file' },
      { name: 'made/by/the/way', content: 'x' },
    ];
    const expected = 'second 604 1234 2 dir/file 1000000000';
    const source = `require('fs').mkdirSync('/in', { recursive: true }); console.log('ready');
      process.on('SIGUSR2', () => { ${show}; process.exit() }); setInterval(() => {}, 1000)`;
    const id = await run(harness, source);
    await said(harness, id, 'ready');
    await runtime.copyIn(id, '/in', tarOf(entries));
    await runtime.kill(id, 'SIGUSR2');
    await eventually('it sees what came in', async () => (await linesOf(harness, id)).length === 2);
    assert.equal((await linesOf(harness, id))[1], expected);
    await runtime.wait(id, 'not-running', patience());
    // Once more into the one that has ended, over what is there.
    await runtime.copyIn(id, '/in', tarOf([{ name: 'dir/file', content: 'third' }]));
    assert.deepEqual([...(await outOf(harness, id, '/in/dir/file'))], [['file', 'third']]);
  }),

  copyCase('a directory is never replaced by something else, nor the other way round', async (harness) => {
    const { id } = await runToEnd(harness, WRITE);
    const into = (entry: Entry): Promise<void> => harness.runtime.copyIn(id, '/work', tarOf([entry]));
    await rejectsWith('INVALID_ARGUMENT', () => into({ name: 'deep', content: 'x' }));
    await rejectsWith('INVALID_ARGUMENT', () => into({ name: 'a', flag: '5' }));
    await rejectsWith('PATH_NOT_FOUND', () => harness.runtime.copyIn(id, '/nothing', tarOf([])));
    await rejectsWith('PATH_NOT_FOUND', () => harness.runtime.copyIn(id, '/work/a', tarOf([])));
  }),

  copyCase('an archive cannot name its way out, and brings no devices', async (harness) => {
    const { id } = await runToEnd(harness, WRITE);
    const into = (entry: Entry): Promise<void> => harness.runtime.copyIn(id, '/work', tarOf([entry]));
    await rejectsWith('UNSAFE_ARCHIVE', () => into({ name: '../../escaped', content: 'x' }));
    await rejectsWith('UNSAFE_ARCHIVE', () => into({ name: 'null', flag: '3' }));
    await rejectsWith('UNSAFE_ARCHIVE', () => into({ name: 'h', flag: '1', link: '../../etc/passwd' }));
    await into({ name: 'absolute/through-link', content: 'inside' });
    assert.equal((await outOf(harness, id, '/work/deep/through-link')).get('through-link'), 'inside');
  }),

  copyCase('links that lead out of the container lead back into it', async (harness) => {
    const planted = `const fs = require('fs'); fs.mkdirSync('/trap'); fs.mkdirSync('/host-only-name');
      fs.symlinkSync('/../../../../../..', '/trap/root'); fs.symlinkSync('/proc/1/root', '/trap/proc');
      fs.writeFileSync('/host-only-name/f', 'mine')`;
    const { id } = await runToEnd(harness, planted);
    assert.deepEqual([...(await outOf(harness, id, '/trap/root/host-only-name/f'))], [['f', 'mine']]);
    await harness.runtime.copyIn(id, '/trap/root/host-only-name', tarOf([{ name: 'g', content: 'in' }]));
    assert.deepEqual([...(await outOf(harness, id, '/host-only-name/g'))], [['g', 'in']]);
  }),

  copyCase('volumes are seen, of one that has ended too', async (harness) => {
    if (!(await capabilitiesOf(harness)).mounts) return;
    const mounts = [{ type: 'volume', name: 'conformance-copy', target: '/volume' }] as const;
    const { id } = await runToEnd(harness, `require('fs').writeFileSync('/volume/f', 'in volume')`, {
      mounts,
    });
    assert.deepEqual([...(await outOf(harness, id, '/volume/f'))], [['f', 'in volume']]);
    await harness.runtime.copyIn(id, '/volume', tarOf([{ name: 'g', content: 'copied' }]));
    const { stdout } = await runToEnd(
      harness,
      `console.log(require('fs').readFileSync('/volume/g', 'utf8'))`,
      {
        mounts,
      },
    );
    assert.deepEqual(stdout, ['copied']);
  }),

  copyCase('a container that swaps directories for links meanwhile gains nothing', async (harness) => {
    // The names exist on the machine too: a copy that were led out would read or write there.
    const race = `const fs = require('fs'); fs.mkdirSync('/race/real', { recursive: true }); fs.mkdirSync('/race/tmp');
      fs.writeFileSync('/race/real/hostname', 'inside'); fs.symlinkSync('/proc/self/cwd/../../../../../../etc', '/race/out');
      fs.symlinkSync('/race/real', '/race/spot'); console.log('ready');
      const attempt = (what) => { try { what() } catch {} };
      for (;;) for (const to of ['/etc', '/race/real', '../../../../../../../../etc', '/proc/1/root/etc']) {
        attempt(() => fs.unlinkSync('/race/new')); attempt(() => fs.symlinkSync(to, '/race/new'));
        attempt(() => fs.renameSync('/race/new', '/race/spot'));
        if (to === '/etc') { attempt(() => fs.unlinkSync('/race/spot')); attempt(() => fs.renameSync('/race/real', '/race/spot')); attempt(() => fs.renameSync('/race/spot', '/race/real')) } }`;
    const id = await run(harness, race);
    await said(harness, id, 'ready');
    const mark = `race-${id.slice(0, 12)}`;
    for (let round = 0; round < 60; round += 1) {
      const attempts = [
        harness.runtime.copyIn(id, '/race/spot', tarOf([{ name: mark, content: 'written' }])),
        outOf(harness, id, '/race/spot/hostname').then((entries) => {
          const inside = entries.get('hostname');
          assert.ok(
            inside === undefined || inside === 'inside' || inside.startsWith(id.slice(0, 12)),
            inside,
          );
        }),
      ];
      for (const result of await Promise.allSettled(attempts)) {
        if (result.status === 'rejected' && result.reason instanceof assert.AssertionError)
          throw result.reason;
      }
    }
    await harness.runtime.kill(id, 'SIGKILL');
    const { existsSync } = await import('node:fs');
    assert.equal(existsSync(`/etc/${mark}`), false, 'the copy was led out to the machine');
  }),
];

/** A case for runtimes that can compare with the image. */
function diffCase(
  name: string,
  body: (harness: ContainerRuntimeHarness) => Promise<void>,
): ConformanceCase<ContainerRuntimeHarness> {
  return runtimeCase(`diff: ${name}`, async (harness) => {
    if ((await capabilitiesOf(harness)).diff) return await body(harness);
    const id = await run(harness, POLITE);
    await rejectsWith('NOT_SUPPORTED', () => harness.runtime.diff(id));
    await rejectsWith('NOT_SUPPORTED', async () => {
      for await (const _ of harness.runtime.exportRootfs(id));
    });
  });
}

const diffCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  diffCase('one that wrote nothing has none; added, changed and deleted are told apart', async (harness) => {
    const idle = await run(harness, POLITE);
    await said(harness, idle, 'ready');
    assert.deepEqual(await harness.runtime.diff(idle), []);
    const { id: first } = await runToEnd(
      harness,
      `const fs = require('fs'); fs.mkdirSync('/kept/gone', { recursive: true }); fs.writeFileSync('/kept/gone/x', 'x');
       fs.writeFileSync('/kept/same', '1'); fs.writeFileSync('/kept/other', '1'); fs.writeFileSync('/kept/away', '1')`,
    );
    if (!(await capabilitiesOf(harness)).commit) return;
    const { digest } = await harness.runtime.commit(first);
    const { id } = await runToEnd(
      harness,
      `const fs = require('fs'); fs.writeFileSync('/kept/other', '22'); fs.unlinkSync('/kept/away');
       fs.rmSync('/kept/gone', { recursive: true }); fs.mkdirSync('/kept/gone'); fs.writeFileSync('/kept/gone/y', 'y');
       fs.mkdirSync('/new'); fs.writeFileSync('/new/f', 'f')`,
      { image: digest },
    );
    const expected: FileChange[] = [
      { path: '/kept', kind: 'changed' },
      { path: '/kept/away', kind: 'deleted' },
      { path: '/kept/gone', kind: 'changed' },
      { path: '/kept/gone/x', kind: 'deleted' },
      { path: '/kept/gone/y', kind: 'added' },
      { path: '/kept/other', kind: 'changed' },
      { path: '/new', kind: 'added' },
      { path: '/new/f', kind: 'added' },
    ];
    assert.deepEqual(await harness.runtime.diff(id), expected);
    // What was deleted stays deleted in an image of it.
    const again = await harness.runtime.commit(id, { changes: { environment: { MADE: 'by commit' } } });
    const list = `const fs = require('fs'); console.log(JSON.stringify([fs.readdirSync('/kept').sort(), fs.readdirSync('/kept/gone'), fs.readFileSync('/new/f', 'utf8'), process.env.MADE]))`;
    const { stdout } = await runToEnd(harness, list, { image: again.digest });
    assert.deepEqual(JSON.parse(stdout[0] ?? ''), [['gone', 'other', 'same'], ['y'], 'f', 'by commit']);
  }),

  diffCase(
    'an export holds image and changes, of one that runs and of one that has ended',
    async (harness) => {
      const running = await run(harness, `require('fs').writeFileSync('/exported', 'yes'); ${POLITE}`);
      await said(harness, running, 'ready');
      const { id: ended } = await runToEnd(harness, `require('fs').writeFileSync('/exported', 'yes')`);
      for (const id of [running, ended]) {
        const entries = await entriesOf(harness.runtime.exportRootfs(id));
        assert.equal(entries.get('exported'), 'yes');
        assert.ok(entries.has('etc') || entries.has('bin') || entries.has('usr'), 'the image is missing');
      }
    },
  ),

  diffCase('one that runs is committed and lives on', async (harness) => {
    if (!(await capabilitiesOf(harness)).commit) return;
    const id = await run(harness, `require('fs').writeFileSync('/state', 'saved'); ${POLITE}`);
    await said(harness, id, 'ready');
    const { digest } = await harness.runtime.commit(id, {
      reference: 'conformance/committed:1',
      message: 'why',
    });
    assert.match(digest, /^sha256:[0-9a-f]{64}$/);
    assert.equal((await harness.runtime.inspect(id)).state, 'running');
    const { stdout } = await runToEnd(harness, `console.log(require('fs').readFileSync('/state', 'utf8'))`, {
      image: 'conformance/committed:1',
    });
    assert.deepEqual(stdout, ['saved']);
  }),
];

const processCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase(
    'top shows its processes, the main one first, with what they were started as',
    async (harness) => {
      const source = `require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000); "the child"'], { stdio: 'ignore' }); ${POLITE}`;
      const id = await run(harness, source);
      await said(harness, id, 'ready');
      if (!(await capabilitiesOf(harness)).top) {
        await rejectsWith('NOT_SUPPORTED', () => harness.runtime.top(id));
        return;
      }
      await eventually('both are shown', async () => (await harness.runtime.top(id)).length === 2);
      const [main, child] = await harness.runtime.top(id);
      assert.equal(main?.pid, (await harness.runtime.inspect(id)).pid);
      await eventually('the child has its command line', async () =>
        ((await harness.runtime.top(id))[1]?.command ?? '').includes('"the child"'),
      );
      assert.equal(child?.parentPid, main?.pid);
      assert.ok((main?.residentBytes ?? 0) > 1024 * 1024);
      await harness.runtime.stop(id, { graceMs: 0 });
      await rejectsWith('ILLEGAL_TRANSITION', () => harness.runtime.top(id));
    },
  ),

  runtimeCase('init reaps orphans, passes signals on and keeps the exit code', async (harness) => {
    const grandchild = `process.stdout.write(""); setTimeout(() => {}, 300)`;
    const child = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(grandchild)}], { stdio: 'ignore', detached: true }).unref()`;
    const source = `process.on('SIGTERM', () => process.exit(3)); console.log('parent ' + process.ppid);
      process.on('SIGUSR2', () => require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { stdio: 'ignore' })
        .on('exit', () => console.log('orphaned'))); setInterval(() => {}, 1000)`;
    if (!(await capabilitiesOf(harness)).init) {
      const spec = scriptSpec(harness, source, { init: true });
      await rejectsWith('NOT_SUPPORTED', () => harness.runtime.create(spec));
      return;
    }
    const id = await run(harness, source, { init: true });
    await said(harness, id, 'parent 1');
    assert.deepEqual((await harness.runtime.inspect(id)).command.slice(-2), ['-e', source]);
    const threads = async (): Promise<number> => (await harness.runtime.stats(id)).pids;
    await eventually('it is quiet', async () => (await harness.runtime.top(id)).length === 2);
    const before = await threads();
    await harness.runtime.kill(id, 'SIGUSR2', { all: true });
    await said(harness, id, 'orphaned');
    // A zombie counts until somebody reaps it.
    await eventually('the orphan is reaped', async () => (await threads()) <= before + 1);
    await harness.runtime.stop(id, { graceMs: 10_000 });
    assert.equal((await harness.runtime.inspect(id)).exit?.exitCode, 3);
  }),
];

/** Cases of files and processes. */
export const fileCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  ...copyCases,
  ...diffCases,
  ...processCases,
];
