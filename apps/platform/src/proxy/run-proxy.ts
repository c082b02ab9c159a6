// This node's mesh proxy: follows the state store's snapshots and goes on with the last one when it is away.

import { join } from 'node:path';
import { type Clock, errorMessage, type StateStore, systemClock } from '@heptad/core';
import { linuxAddresses, NodeProxy, noAddresses, watchMeshSnapshot } from '@heptad/mesh';
import type { Logger } from 'pino';
import { type PlatformConfig, platformPaths } from '../config.ts';
import { loadSnapshot, SNAPSHOT_FILE, saveSnapshot } from './snapshot-file.ts';

/** Where the proxy tells what it cannot do; the server shows it. */
export function proxyStatusKey(node: string): string {
  return `/nodes/${node}/proxy`;
}

/** How often the proxy looks whether its problems changed. */
const REPORT_INTERVAL_MS = 2_000;
/** Requests in flight get this long when the proxy is asked to stop. */
const DRAIN_DEADLINE_MS = 5_000;

/** What the proxy needs. */
export interface RunProxyOptions {
  readonly config: PlatformConfig;
  readonly store: StateStore;
  /** With containers, virtual addresses are put on the node's bridge; plain processes use loopback ones. */
  readonly isolation: 'container' | 'process';
  readonly logger: Logger;
  readonly clock?: Clock;
}

/** Starts the proxy. Closing drains it. */
export async function runProxy(options: RunProxyOptions): Promise<AsyncDisposable> {
  const { config, store, logger } = options;
  const clock = options.clock ?? systemClock;
  const snapshotPath = join(platformPaths(config.home).run, SNAPSHOT_FILE);
  const proxy = new NodeProxy({
    clock,
    addresses: options.isolation === 'container' ? linuxAddresses(config.network.bridge) : noAddresses,
    onAccess: (entry) => {
      if (entry.status >= 500) logger.warn(entry, 'request failed');
    },
  });
  const stop = new AbortController();
  const saved = await loadSnapshot(snapshotPath);
  if (saved !== undefined) await proxy.apply(saved);

  const follow = async (): Promise<void> => {
    const onError = (error: unknown): void =>
      logger.warn({ err: error }, 'cannot reach the state store; serving with the last known state');
    for await (const snapshot of watchMeshSnapshot(store, { signal: stop.signal, clock, onError })) {
      await proxy.apply(snapshot);
      await saveSnapshot(snapshotPath, snapshot).catch((error: unknown) =>
        logger.warn({ err: error }, 'cannot save the snapshot'),
      );
    }
  };
  const report = async (): Promise<void> => {
    let told: string | undefined;
    while (!stop.signal.aborted) {
      const text = JSON.stringify({ problems: proxy.status().problems });
      if (text !== told) {
        try {
          await store.txn({
            compare: [],
            success: [{ op: 'put', key: proxyStatusKey(config.nodeName), value: text }],
          });
          told = text;
        } catch (error) {
          logger.debug({ reason: errorMessage(error) }, 'cannot report the status now');
        }
      }
      await clock.sleep(REPORT_INTERVAL_MS, stop.signal).catch(() => {});
    }
  };
  const running = Promise.all([follow(), report()]);
  running.catch((error: unknown) => {
    if (!stop.signal.aborted) logger.error({ err: error }, 'the proxy stopped following the state store');
  });
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running.catch(() => {});
      await proxy.drain({ deadlineMs: DRAIN_DEADLINE_MS });
      await proxy.close();
      await store[Symbol.asyncDispose]();
    },
  };
}
