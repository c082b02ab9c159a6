// Three centres in this process over real HTTP, each with a storage node of its own on disk: what object replication needs.

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, MemoryStateStore, type ObjectInfo, type ObjectStore, systemClock } from '@heptad/core';
import { DisasterRecovery, Topology } from '@heptad/dr';
import { freePort, TIMINGS } from './cluster.ts';

const STORAGE = new URL('../../../storage/src/index.ts', import.meta.url).href;
const TOKEN = 'a-token-for-tests-alone';

interface Closable {
  close(): Promise<void>;
}
interface StorageModule {
  readonly StorageNode: {
    start(options: object): Promise<Closable & { readonly id: string; readonly address: string }>;
  };
  readonly DistributedStorage: new (options: object) => ObjectStore & Closable;
}
const { StorageNode, DistributedStorage } = (await import(STORAGE)) as StorageModule;

/** Chores of a minute or more come round ten times a second; all else keeps its time. */
const hurried: Clock = {
  now: () => systemClock.now(),
  monotonicMs: () => systemClock.monotonicMs(),
  sleep: (ms, signal) => systemClock.sleep(ms, signal),
  timer: (ms, callback, options) => systemClock.timer(ms, callback, options),
  interval: (ms, callback, options) => systemClock.interval(ms >= 60_000 ? 100 : ms, callback, options),
};

/** One centre with its own disk. */
export interface Site {
  readonly name: string;
  readonly directory: string;
  /** Its own objects, past replication. */
  readonly own: ObjectStore;
  readonly state: MemoryStateStore;
  readonly center: DisasterRecovery;
  /** When set: a write to its own objects waits for it before it is confirmed. */
  hold: Promise<void> | undefined;
}

/** Centres north (primary), south and west. */
export class ObjectCenters implements AsyncDisposable {
  readonly sites: readonly Site[];
  readonly #close: (() => Promise<unknown>)[];

  private constructor(sites: readonly Site[], close: (() => Promise<unknown>)[]) {
    this.sites = sites;
    this.#close = close;
  }

  static async start(): Promise<ObjectCenters> {
    const root = await mkdtemp(join(tmpdir(), 'heptad-dr-objects-'));
    const close: (() => Promise<unknown>)[] = [() => rm(root, { recursive: true, force: true })];
    const centers = [];
    for (const name of ['north', 'south', 'west'])
      centers.push({ name, address: `127.0.0.1:${await freePort()}` });
    // Every backup must have a write before it is acknowledged: then the tests need not wait for the slower one.
    const topology = new Topology({ primary: 'north', centers, syncBackups: 2, timings: TIMINGS });
    const sites: Site[] = [];
    for (const { name } of centers) {
      const directory = join(root, name);
      const node = await StorageNode.start({ id: name, directory, capacityBytes: 1024 ** 3, token: TOKEN });
      const own = new DistributedStorage({ nodes: [node], token: TOKEN, replicationFactor: 1 });
      const state = new MemoryStateStore();
      const held: { site?: Site } = {};
      const center = await DisasterRecovery.start({
        topology,
        self: name,
        store: state,
        objects: holding(own, () => held.site?.hold),
        secret: 'test',
        clock: hurried,
      });
      held.site = { name, directory, own, state, center, hold: undefined };
      sites.push(held.site);
      close.push(
        () => node.close(),
        () => own.close(),
        () => center[Symbol.asyncDispose](),
      );
    }
    const all = new ObjectCenters(sites, close);
    await all.site('north').center.whenPrimary(AbortSignal.timeout(20_000));
    return all;
  }

  site(name: string): Site {
    const site = this.sites.find((one) => one.name === name);
    if (site === undefined) throw new Error(`no site ${name}`);
    return site;
  }

  /** Each centre's own copy, with the bytes read and verified; undefined where there is none. */
  async copies(bucket: string, key: string): Promise<(string | undefined)[]> {
    return Promise.all(
      this.sites.map(({ own }) =>
        own.get(bucket, key).then(
          ({ info }) => info.sha256,
          () => undefined,
        ),
      ),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.#close.reverse()) await close();
  }
}

function holding(own: ObjectStore, hold: () => Promise<void> | undefined): ObjectStore {
  const put: ObjectStore['put'] = async (...args): Promise<ObjectInfo> => {
    const info = await own.put(...args);
    await hold();
    return info;
  };
  return new Proxy(own, {
    get: (target, name) => {
      if (name === 'put') return put;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Flips a bit of every occurrence of `content` in the files below a directory, as a failing disk would. */
export async function damage(directory: string, content: string): Promise<number> {
  let damaged = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = await readFile(path);
    const at = bytes.indexOf(content);
    if (at < 0) continue;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    await writeFile(path, bytes);
    damaged += 1;
  }
  return damaged;
}
