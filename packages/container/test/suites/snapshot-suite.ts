// The contract of a snapshotter as cases, after containerd's suite (core/snapshots/testsuite); in brackets its name there.

import assert from 'node:assert/strict';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ConformanceCase, conformanceCase, rejectsWith } from '@heptad/core/conformance';
import { type Mount, mountAll, unmountAll } from '../../src/image/mounts.ts';
import type { Snapshot, SnapshotKind } from '../../src/image/snapshot-info.ts';
import type { Snapshotter } from '../../src/image/snapshotter.ts';
import { apply, type Change, describeTree, directory, file, hardLink, move, owner, remove } from './tree.ts';

/** A fresh snapshotter and a directory to play in. */
export interface SnapshotHarness extends AsyncDisposable {
  readonly snapshotter: Snapshotter;
  readonly work: string;
  /** Milliseconds since 1970, of the clock the snapshotter uses. */
  now(): number;
}

type Case = ConformanceCase<SnapshotHarness>;
const test = (name: string, body: (harness: SnapshotHarness) => Promise<void>): Case =>
  conformanceCase(name, body);

const ROOT = { 'containerd.io/gc.root': 'suite' };

/** Mounts, looks or writes, and unmounts whatever happens. */
async function mounted<T>(
  work: string,
  mounts: readonly Mount[],
  use: (root: string) => Promise<T>,
): Promise<T> {
  const target = join(work, 'mounted');
  await mkdir(target, { recursive: true });
  await mountAll(mounts, target);
  try {
    return await use(target);
  } finally {
    await unmountAll(target);
  }
}

/** Makes one committed snapshot of changes. */
async function layer(
  { snapshotter, work }: SnapshotHarness,
  name: string,
  parent: string | undefined,
  changes: readonly Change[],
): Promise<void> {
  const mounts = await snapshotter.prepare(`${name}-key`, parent, { labels: ROOT });
  await mounted(work, mounts, (root) => apply(changes, root));
  await snapshotter.commit(name, `${name}-key`, { labels: ROOT });
}

/** Applies layers both as snapshots and to one flat directory, and compares after each. */
async function checkLayers(harness: SnapshotHarness, layers: readonly (readonly Change[])[]): Promise<void> {
  const { snapshotter, work } = harness;
  const flat = join(work, 'flat');
  await mkdir(flat);
  let parent: string | undefined;
  for (const [index, changes] of layers.entries()) {
    await apply(changes, flat);
    await layer(harness, `layer-${index}`, parent, changes);
    parent = `layer-${index}`;
    const seen = await mounted(work, await snapshotter.view('look', parent), (root) => describeTree(root));
    await snapshotter.remove('look');
    assert.deepEqual(seen, await describeTree(flat));
  }
}

async function names(snapshotter: Snapshotter, filter?: (info: Snapshot) => boolean): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of snapshotter.walk(filter)) found.push(name);
  return found.sort();
}

async function empty(snapshotter: Snapshotter, name: string, parent?: string): Promise<void> {
  await snapshotter.prepare(`${name}-a`, parent, { labels: ROOT });
  await snapshotter.commit(name, `${name}-a`, { labels: ROOT });
}

const basics: Case[] = [
  test('[Basic] what is written through a prepared snapshot and committed is what stands below the next', async (harness) => {
    const { snapshotter, work } = harness;
    const initial = [file('foo', 'foo\n', 0o777), directory('a'), directory('a/b'), directory('a/b/c')];
    const diff = [file('bar', 'bar\n', 0o777), file('foo', 'bar\n', 0o777), remove('a/b')];
    await layer(harness, 'committed', undefined, initial);
    const first = await snapshotter.stat('committed');
    assert.deepEqual([first.parent, first.kind], [undefined, 'committed']);
    await rejectsWith('SNAPSHOT_NOT_FOUND', () => snapshotter.stat('committed-key'));
    const next = await snapshotter.prepare('next', 'committed', { labels: ROOT });
    const flat = join(work, 'flat');
    await mkdir(flat);
    await apply(initial, flat);
    await mounted(work, next, async (root) => {
      assert.deepEqual(await describeTree(root), await describeTree(flat));
      await apply(diff, root);
    });
    const active = await snapshotter.stat('next');
    assert.deepEqual([active.parent, active.kind], ['committed', 'active']);
    await snapshotter.commit('committed-next', 'next', { labels: ROOT });
    const second = await snapshotter.stat('committed-next');
    assert.deepEqual([second.parent, second.kind], ['committed', 'committed']);
    await rejectsWith('SNAPSHOT_NOT_FOUND', () => snapshotter.stat('next'));
    const walked: Snapshot[] = [];
    for await (const info of snapshotter.walk()) walked.push(info);
    assert.deepEqual(new Set(walked), new Set([first, second]));
    await apply(diff, flat);
    const view = await snapshotter.view('view', 'committed-next');
    assert.deepEqual(await mounted(work, view, (root) => describeTree(root)), await describeTree(flat));
    await snapshotter.remove('view');
    await rejectsWith('SNAPSHOT_IN_USE', () => snapshotter.remove('committed'));
    await snapshotter.remove('committed-next');
    await snapshotter.remove('committed');
    assert.deepEqual(await names(snapshotter), []);
  }),

  test('[StatActive] a prepared snapshot is active under its key', async ({ snapshotter, work }) => {
    const mounts = await snapshotter.prepare('preparing', undefined, { labels: ROOT });
    assert.ok(mounts.length > 0);
    await mounted(work, mounts, (root) => writeFile(join(root, 'foo'), 'foo\n'));
    const info = await snapshotter.stat('preparing');
    assert.deepEqual([info.name, info.kind, info.parent], ['preparing', 'active', undefined]);
    assert.deepEqual(await snapshotter.mounts('preparing'), mounts);
    assert.ok((await snapshotter.usage('preparing')).inodes >= 2);
  }),

  test('[StatCommitted] a committed one is committed under its name, with its usage', async (harness) => {
    await layer(harness, 'committed', undefined, [file('foo', 'x'.repeat(10_000))]);
    const info = await harness.snapshotter.stat('committed');
    assert.deepEqual([info.name, info.kind, info.parent], ['committed', 'committed', undefined]);
    const usage = await harness.snapshotter.usage('committed');
    assert.ok(usage.bytes >= 10_000 && usage.inodes === 2, JSON.stringify(usage));
    await rejectsWith('INVALID_ARGUMENT', () => harness.snapshotter.mounts('committed'));
  }),

  test('[Transitivity] a parent has its own parent', async (harness) => {
    await layer(harness, 'A', undefined, [file('foo', 'foo\n')]);
    await layer(harness, 'B', 'A', [file('foo', 'foo bar\n')]);
    const { parent } = await harness.snapshotter.stat('B');
    assert.equal(parent, 'A');
    assert.equal((await harness.snapshotter.stat('A')).parent, undefined);
  }),

  test('[PrepareViewFailing] a key or name is given once; a parent must be committed', async ({
    snapshotter,
  }) => {
    await empty(snapshotter, 'A');
    for (const [first, second] of [
      ['prepare', 'view'],
      ['prepare', 'prepare'],
      ['view', 'view'],
    ] as const) {
      await snapshotter[first](`${first}-${second}`, 'A');
      await rejectsWith('ALREADY_EXISTS', () => snapshotter[second](`${first}-${second}`, 'A'));
    }
    await rejectsWith('ALREADY_EXISTS', () => snapshotter.prepare('A'));
    await rejectsWith('SNAPSHOT_NOT_FOUND', () => snapshotter.prepare('x', 'absent'));
    await rejectsWith('INVALID_ARGUMENT', () => snapshotter.prepare('x', 'prepare-view'));
    await rejectsWith('INVALID_ARGUMENT', () => snapshotter.commit('x', 'view-view'));
    await rejectsWith('INVALID_ARGUMENT', () => snapshotter.commit('x', 'A'));
    await rejectsWith('ALREADY_EXISTS', () => snapshotter.commit('A', 'prepare-view'));
    await rejectsWith('SNAPSHOT_NOT_FOUND', () => snapshotter.commit('x', 'absent'));
    await rejectsWith('SNAPSHOT_NOT_FOUND', () => snapshotter.remove('absent'));
  }),

  test('[Update] labels change as a whole or one by one, nothing else does', async ({ snapshotter, now }) => {
    const began = now();
    await empty(snapshotter, 'c1');
    await empty(snapshotter, 'c2', 'c1');
    await snapshotter.prepare('a1', 'c2');
    await snapshotter.prepare('a2');
    await snapshotter.view('v1', 'c2');
    await snapshotter.view('v2');
    const expected: [string, SnapshotKind, string | undefined][] = [
      ['c1', 'committed', undefined],
      ['c2', 'committed', 'c1'],
      ['a1', 'active', 'c2'],
      ['a2', 'active', undefined],
      ['v1', 'view', 'c2'],
      ['v2', 'view', undefined],
    ];
    for (const [name, kind, parent] of expected) {
      const before = await snapshotter.stat(name);
      assert.ok(before.createdAt >= began && before.createdAt <= now());
      assert.deepEqual([before.updatedAt, before.kind, before.parent], [before.createdAt, kind, parent]);
      const all = { l1: 'v1', l2: 'v2', l3: 'v3', ...ROOT };
      const asked = now();
      const after = await snapshotter.update(name, { labels: all });
      assert.deepEqual({ ...after, updatedAt: 0 }, { ...before, labels: all, updatedAt: 0 });
      assert.ok(after.updatedAt >= asked && after.updatedAt <= now());
      const some = await snapshotter.update(name, { labels: { l1: 'updated', l4: 'v4' } }, [
        'labels.l1',
        'labels.l2',
      ]);
      assert.deepEqual(some.labels, { l1: 'updated', l3: 'v3', ...ROOT });
      const whole = await snapshotter.update(name, { labels: { l4: 'v4', ...ROOT } }, ['labels']);
      assert.deepEqual((await snapshotter.stat(name)).labels, whole.labels);
      await rejectsWith('INVALID_ARGUMENT', () => snapshotter.update(name, { labels: {} }, ['parent']));
    }
  }),

  test('[Remove] a removed key can be used again, and so can a name', async ({ snapshotter }) => {
    await empty(snapshotter, 'committed-1');
    await snapshotter.prepare('reuse', 'committed-1');
    await snapshotter.remove('reuse');
    await snapshotter.view('reuse', 'committed-1');
    await snapshotter.remove('reuse');
    await snapshotter.prepare('reuse');
    await snapshotter.remove('committed-1');
    await snapshotter.commit('committed-1', 'reuse');
    assert.deepEqual(await names(snapshotter), ['committed-1']);
  }),

  test('[Walk] every snapshot, or those of a kind, a parent, a label', async ({ snapshotter }) => {
    const labelled = { labels: { l: '2' } };
    await snapshotter.prepare('a-np');
    await empty(snapshotter, 'p');
    await snapshotter.prepare('a', 'p');
    await snapshotter.view('v', 'p');
    await snapshotter.prepare('p-wl-tmp');
    await snapshotter.commit('p-wl', 'p-wl-tmp', { labels: { l: '1' } });
    await snapshotter.prepare('a-wl', 'p-wl', labelled);
    await snapshotter.view('v-wl', 'p-wl', { labels: { l: '3' } });
    await snapshotter.prepare('a-np-wl', undefined, labelled);
    const all = ['a', 'a-np', 'a-np-wl', 'a-wl', 'p', 'p-wl', 'v', 'v-wl'];
    assert.deepEqual(await names(snapshotter), all);
    const of = (kind: SnapshotKind): Promise<string[]> => names(snapshotter, (info) => info.kind === kind);
    assert.deepEqual(await of('active'), ['a', 'a-np', 'a-np-wl', 'a-wl']);
    assert.deepEqual(await of('view'), ['v', 'v-wl']);
    assert.deepEqual(await of('committed'), ['p', 'p-wl']);
    assert.deepEqual(await names(snapshotter, ({ parent }) => parent === 'p'), ['a', 'v']);
    assert.deepEqual(await names(snapshotter, ({ labels }) => labels.l === '2'), ['a-np-wl', 'a-wl']);
  }),

  test('[StatInWalk] a snapshot can be looked at, and removed, during a walk', async ({ snapshotter }) => {
    await empty(snapshotter, 'c1');
    await empty(snapshotter, 'c2', 'c1');
    await snapshotter.prepare('a1', 'c2');
    await snapshotter.view('v1', 'c2');
    for await (const info of snapshotter.walk()) {
      assert.deepEqual(await snapshotter.stat(info.name), info);
      if (info.kind !== 'committed') await snapshotter.remove(info.name);
    }
    assert.deepEqual(await names(snapshotter), ['c1', 'c2']);
  }),

  test('[CloseTwice] closing again is fine', async ({ snapshotter }) => {
    await empty(snapshotter, 'c');
    await snapshotter.remove('c');
    await snapshotter.close();
    await snapshotter.close();
  }),
];

const files: Case[] = [
  test('[ViewReadonly] a view cannot be written to', async (harness) => {
    const { snapshotter, work } = harness;
    await layer(harness, 'one', undefined, [file('f', 'x')]);
    await layer(harness, 'two', 'one', [file('g', 'x')]);
    for (const [index, parent] of [undefined, 'one', 'two'].entries()) {
      const mounts = await snapshotter.view(`view-${index}`, parent);
      await mounted(work, mounts, async (root) => {
        await assert.rejects(writeFile(join(root, 'test'), 'x'), { code: 'EROFS' });
      });
    }
  }),

  test('[RootPermission] the root is 0755 whatever the umask', async ({ snapshotter, work }) => {
    const before = process.umask(0o077);
    try {
      const mounts = await snapshotter.prepare('a');
      const mode = await mounted(work, mounts, async (root) => (await stat(root)).mode & 0o777);
      assert.equal(mode, 0o755);
    } finally {
      process.umask(before);
    }
  }),

  test('[LayerFileUpdate] a file changed by an upper layer is the upper one', (harness) =>
    checkLayers(harness, [
      [directory('etc', 0o700), file('etc/hosts', 'mydomain 10.0.0.1'), file('etc/profile', 'PATH=/usr/bin')],
      [
        file('etc/hosts', 'mydomain 10.0.0.2'),
        file('etc/profile', 'PATH=/usr/bin', 0o666),
        directory('root', 0o700),
        file('root/.bashrc', 'PATH=/usr/sbin:/usr/bin'),
      ],
    ])),

  test('[RemoveDirectoryInLowerLayer] a directory removed and made anew hides what was in it', (harness) =>
    checkLayers(harness, [
      [directory('lib', 0o700), file('lib/hidden', '')],
      [remove('lib'), directory('lib', 0o700), file('lib/not-hidden', '')],
      [file('lib/newfile', '')],
    ])),

  test('[Chown] owners of files and directories below change above', (harness) =>
    checkLayers(harness, [
      [
        directory('opt', 0o700),
        directory('opt/a', 0o700),
        directory('opt/a/b', 0o700),
        file('opt/a/b/file.txt', 'hello'),
      ],
      ['opt', 'opt/a', 'opt/a/b', 'opt/a/b/file.txt'].map((path) => owner(path, 1, 1)),
    ])),

  test('[DirectoryPermissionOnCommit] owners of directories survive commits, removals and making anew', (harness) =>
    checkLayers(harness, [
      [
        ...[1, 2, 3, 4, 5].map((index) => directory(`dir${index}`, 0o700)),
        file('dir4/f1', '...'),
        file('dir5/f1', '...'),
        ...['dir1', 'dir2', 'dir3', 'dir5', 'dir5/f1'].map((path) => owner(path, 1, 1)),
      ],
      [owner('dir2', 0, 0), remove('dir3'), owner('dir4', 1, 1), owner('dir4/f1', 1, 1)],
      [
        directory('dir3', 0o700),
        owner('dir3', 1, 1),
        remove('dir5'),
        directory('dir5', 0o700),
        owner('dir5', 1, 1),
      ],
    ])),

  test('[DeletedFilesInChildSnapshot] what a child deletes is gone for those above it', (harness) =>
    checkLayers(harness, [
      [file('foo', 'foo\n', 0o777), directory('foo-dir'), file('foo-dir/x', 'x')],
      [remove('foo'), remove('foo-dir'), file('bar', 'bar')],
      [directory('foo-dir'), file('foo', 'again')],
    ])),

  test('[MoveFileFromLowerLayer] a file moved or linked elsewhere is there and only there', (harness) =>
    checkLayers(harness, [
      [directory('dir1', 0o700), file('dir1/f1', 'Hello'), directory('dir2', 0o700), file('dir2/f2', '...')],
      [
        directory('dir3', 0o700),
        file('dir3/f1', 'Hello'),
        remove('dir1'),
        hardLink('dir2/f2', 'dir3/f2'),
        remove('dir2/f2'),
      ],
    ])),

  test('[Rename] files of a lower layer are renamed and overwritten', (harness) =>
    checkLayers(harness, [
      [
        directory('dir1', 0o700),
        directory('somefiles', 0o700),
        file('somefiles/f1', 'was here first!'),
        file('somefiles/f2', 'nothing interesting'),
      ],
      [
        file('somefiles/f1-overwrite', 'new content 1'),
        move('somefiles/f1-overwrite', 'somefiles/f1'),
        move('somefiles/f2', 'somefiles/f3'),
      ],
    ])),

  test('[RemoveIntermediateSnapshot] one that others stand on stays until they are gone', async (harness) => {
    const { snapshotter } = harness;
    await layer(harness, 'base', undefined, [file('f', 'x')]);
    await layer(harness, 'inter', 'base', [remove('f')]);
    await snapshotter.prepare('top', 'inter');
    await rejectsWith('SNAPSHOT_IN_USE', () => snapshotter.remove('inter'));
    await rejectsWith('SNAPSHOT_IN_USE', () => snapshotter.remove('base'));
    for (const name of ['top', 'inter', 'base']) await snapshotter.remove(name);
    assert.deepEqual(await names(snapshotter), []);
    assert.equal(await snapshotter.cleanup(), 0);
  }),

  test('[128LayersMount] 128 layers stack, and each sees what all below it left', async (harness) => {
    const { snapshotter, work } = harness;
    const layers: Change[][] = [
      [
        file('bottom', 'way at the bottom\n', 0o777),
        file('overwriteme', 'FIRST!\n', 0o777),
        directory('addhere'),
        directory('onlyme'),
        file('onlyme/bottom', 'bye!\n', 0o777),
      ],
    ];
    for (let index = 1; index <= 127; index += 1) {
      layers.push([
        file('overwriteme', `${index} WAS HERE!\n`, 0o777),
        file(`addhere/file-${index}`, 'same\n', 0o755),
        remove('onlyme'),
        directory('onlyme'),
        file(`onlyme/file-${index}`, 'only me!\n', 0o777),
      ]);
    }
    const flat = join(work, 'flat');
    await mkdir(flat);
    for (const [index, changes] of layers.entries()) {
      await apply(changes, flat);
      await layer(harness, `c-${index}`, index === 0 ? undefined : `c-${index - 1}`, changes);
    }
    const view = await snapshotter.view('full', 'c-127');
    assert.deepEqual(await mounted(work, view, (root) => describeTree(root)), await describeTree(flat));
    const top = await snapshotter.prepare('writable', 'c-127');
    await mounted(work, top, async (root) => {
      assert.deepEqual(await describeTree(root), await describeTree(flat));
      await writeFile(join(root, 'new'), 'x');
    });
  }),
];

/** Every case. */
export const snapshotSuite: readonly Case[] = [...basics, ...files];
