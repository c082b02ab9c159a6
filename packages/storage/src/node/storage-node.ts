// A storage node: one process's directory of objects behind HTTP.

import type { Server } from 'node:http';
import {
  type Clock,
  type Disk,
  errorMessage,
  nodeDisk,
  type Random,
  systemClock,
  systemRandom,
} from '@heptad/core';
import { StorageError } from '../errors.ts';
import type { NodeStatus } from '../wire/protocol.ts';
import { createNodeServer } from './http-server.ts';
import { claimDirectory } from './identity.ts';
import { LayoutKeeper } from './layout-keeper.ts';
import { ObjectDirectory } from './object-directory.ts';
import { dropForeignObjects, nodeRoutes, type RouteContext } from './routes.ts';
import { type ScrubProgress, scrubOnce } from './scrub.ts';

/** How to start a {@link StorageNode}. */
export interface StorageNodeOptions {
  /** Name of the node in its cluster, 1 to 63 characters. A directory belongs to one id for good. */
  readonly id: string;
  /** Where it keeps everything; made when missing. One process at a time. */
  readonly directory: string;
  /** Bytes of files it takes at most; beyond it writes are `INSUFFICIENT_SPACE`. */
  readonly capacityBytes: number;
  /** Address to listen on. Default 127.0.0.1. */
  readonly host?: string;
  /** Port to listen on; 0 takes a free one. Default 0. */
  readonly port?: number;
  /** Bearer token that every request must carry, at least 16 characters. */
  readonly token: string;
  /** Failure domain. */
  readonly zone?: string;
  /** Pause between two background scrubs, in milliseconds; 0 switches them off. Default 7 days. */
  readonly scrubIntervalMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly disk?: Disk;
}

/** Ceph's deep scrub interval; disks return silent errors a few times a year per hundred disks. */
const DEFAULT_SCRUB_INTERVAL_MS = 7 * 24 * 60 * 60 * 1000;
const MIN_TOKEN_LENGTH = 16;
/** A request that has not ended by then has lost its client. */
const CLOSE_LIMIT_MS = 5_000;

/**
 * A storage node. It acknowledges a write only after the bytes and the file's name are on disk, verifies on every
 * read and in a slow background scrub, and can be killed at any time.
 *
 * @example
 * ```ts
 * import { mkdtemp, rm } from 'node:fs/promises';
 * import { StorageNode } from '@heptad/storage';
 *
 * const directory = await mkdtemp('/tmp/storage-');
 * const node = await StorageNode.start({
 *   id: 'storage-0', directory, capacityBytes: 1024 ** 3, token: 'a-long-secret-token',
 * });
 * console.log(node.address);
 * await node.close();
 * await rm(directory, { recursive: true });
 * ```
 */
export class StorageNode implements AsyncDisposable {
  readonly id: string;
  /** `host:port` it answers on. */
  readonly address: string;
  readonly #server: Server;
  readonly #clock: Clock;
  readonly #stop: AbortController;
  readonly #background: Promise<unknown>[];
  readonly #context: RouteContext;
  readonly #release: () => Promise<void>;

  private constructor(parts: {
    id: string;
    address: string;
    server: Server;
    clock: Clock;
    stop: AbortController;
    background: Promise<unknown>[];
    context: RouteContext;
    release: () => Promise<void>;
  }) {
    this.id = parts.id;
    this.address = parts.address;
    this.#server = parts.server;
    this.#clock = parts.clock;
    this.#stop = parts.stop;
    this.#background = parts.background;
    this.#context = parts.context;
    this.#release = parts.release;
  }

  /**
   * Opens the directory and listens.
   *
   * @throws StorageError `INVALID_ARGUMENT`, `PORT_IN_USE`, `DIRECTORY_IN_USE` (another process or another id has the
   * directory), `STORE_CORRUPT` (a state file cannot be read; nothing is touched).
   */
  static async start(options: StorageNodeOptions): Promise<StorageNode> {
    checkOptions(options);
    const { clock = systemClock, random = systemRandom, disk = nodeDisk } = options;
    const directory = options.directory.replace(/(.)\/+$/, '$1');
    const release = await claimDirectory({ disk, directory, id: options.id, random });
    const stop = new AbortController();
    const background: Promise<unknown>[] = [];
    try {
      const layout = await LayoutKeeper.open(disk, directory, random);
      const { capacityBytes } = options;
      const objects = await ObjectDirectory.open({ directory, capacityBytes, disk, random });
      const context = makeContext(options, clock, objects, layout, stop.signal, background);
      const server = createNodeServer(options.token, nodeRoutes(context));
      const address = await listen(server, options.host ?? '127.0.0.1', options.port ?? 0);
      const intervalMs = options.scrubIntervalMs ?? DEFAULT_SCRUB_INTERVAL_MS;
      if (intervalMs > 0) background.push(scrubForever(context, clock, random, intervalMs, stop.signal));
      context.layoutLearnt();
      const { id } = options;
      return new StorageNode({ id, address, server, clock, stop, background, context, release });
    } catch (error) {
      stop.abort();
      await release();
      throw error;
    }
  }

  /** What the node would tell a client that asks for its status. */
  status(): NodeStatus {
    return this.#context.status();
  }

  /** Verifies every object now, without pauses. */
  async scrub(): Promise<ScrubProgress> {
    return await this.#context.scrub();
  }

  /** Answers what is under way, then stops. */
  async close(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const limit = this.#clock.timer(CLOSE_LIMIT_MS, () => this.#server.closeAllConnections());
    await closed;
    limit.cancel();
    await Promise.allSettled(this.#background);
    await this.#release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function makeContext(
  options: StorageNodeOptions,
  clock: Clock,
  objects: ObjectDirectory,
  layout: LayoutKeeper,
  signal: AbortSignal,
  background: Promise<unknown>[],
): RouteContext {
  let scrub: ScrubProgress = { running: false, checked: 0, total: 0, corrupt: 0, finishedAt: 0 };
  const context: RouteContext = {
    id: options.id,
    clock,
    objects,
    layout,
    status: () => nodeStatus(options, objects, layout, scrub),
    scrub: async () =>
      await scrubOnce(objects, {
        clock,
        signal,
        fast: true,
        onProgress: (progress) => {
          scrub = progress;
        },
      }),
    layoutLearnt: () => {
      // A failure leaves objects on disk that nobody reads; the next layout or the next start tries again.
      background.push(dropForeignObjects(context, signal).catch(() => undefined));
    },
  };
  return context;
}

function nodeStatus(
  options: StorageNodeOptions,
  objects: ObjectDirectory,
  layout: LayoutKeeper,
  scrub: ScrubProgress,
): NodeStatus {
  const partitions = objects.counts();
  return {
    id: options.id,
    ...(options.zone === undefined ? {} : { zone: options.zone }),
    capacityBytes: options.capacityBytes,
    usedBytes: objects.usedBytes,
    objects: partitions.reduce((sum, partition) => sum + partition.objects, 0),
    corruptObjects: [...objects.entries()].filter((entry) => entry.corrupt).length,
    layoutVersion: layout.version,
    scrub,
    partitions,
  };
}

async function scrubForever(
  context: RouteContext,
  clock: Clock,
  random: Random,
  intervalMs: number,
  signal: AbortSignal,
): Promise<void> {
  try {
    while (!signal.aborted) {
      // Spread over the interval, so that nodes started together do not all read their disks at the same hour.
      await unrefSleep(clock, intervalMs * (0.5 + random.next() / 2), signal);
      await scrubOnce(context.objects, { clock, signal });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function unrefSleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  // setTimeout cannot wait longer than 2^31-1 ms; a week fits, a configured year would not.
  const longest = 2 ** 31 - 1;
  await new Promise<void>((resolve, reject) => {
    const timer = clock.timer(Math.min(ms, longest), resolve, { unref: true });
    signal.addEventListener(
      'abort',
      () => {
        timer.cancel();
        reject(signal.reason);
      },
      { once: true },
    );
  });
}

async function listen(server: Server, host: string, port: number): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EADDRINUSE') return reject(cause);
      reject(
        new StorageError(
          'PORT_IN_USE',
          `cannot start a storage node on ${host}:${port}: the port is in use`,
          {
            cause,
            hint: 'stop the other process ("ss -ltnp" shows it) or choose another port',
          },
        ),
      );
    });
    server.listen(port, host, resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') {
    throw new StorageError(
      'INVALID_ARGUMENT',
      `cannot tell the address of the storage node: ${errorMessage(bound)}`,
    );
  }
  return bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`;
}

function checkOptions(options: StorageNodeOptions): void {
  const wrong = (what: string, hint: string): StorageError =>
    new StorageError('INVALID_ARGUMENT', `cannot start storage node "${options.id}": ${what}`, { hint });
  if (!/^[A-Za-z0-9._-]{1,63}$/.test(options.id)) {
    throw wrong('its id cannot be used', 'use 1 to 63 letters, digits, dots, hyphens and underscores');
  }
  if (!Number.isInteger(options.capacityBytes) || options.capacityBytes < 1) {
    throw wrong(
      `capacityBytes ${options.capacityBytes} is no positive whole number`,
      'for 10 GiB give 10 * 1024 ** 3',
    );
  }
  if (options.token.length < MIN_TOKEN_LENGTH) {
    throw wrong(`the token is shorter than ${MIN_TOKEN_LENGTH} characters`, 'use 32 random bytes as text');
  }
}
