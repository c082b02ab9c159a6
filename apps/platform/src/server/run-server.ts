// The API server: opens the state and serves it, alone or as one of several centres.

import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, systemClock } from '@heptad/core';
import { SqliteStateStore } from '@heptad/storage/state';
import type { Logger } from 'pino';
import { CenterRecovery } from '../centers/center-recovery.ts';
import { PlatformCenter } from '../centers/platform-center.ts';
import { runCenter } from '../centers/run-center.ts';
import { readCenterSettings } from '../centers/settings.ts';
import { storageTokenPath } from '../cli/run/storage-node.ts';
import { type PlatformConfig, platformPaths } from '../config.ts';
import { openActiveServer } from './active-server.ts';
import { ensureStorageToken } from './local-secrets.ts';
import { openStandbyServer } from './standby-server.ts';

/** What the server needs. */
export interface RunServerOptions {
  readonly config: PlatformConfig;
  readonly logger: Logger;
  readonly clock?: Clock;
}

/** Starts the server; closing stops serving first and closes the state last. */
export async function runServer(options: RunServerOptions): Promise<AsyncDisposable> {
  const { config, logger } = options;
  const clock = options.clock ?? systemClock;
  const paths = platformPaths(config.home);
  // A mistake in the settings is told before anything is opened.
  const settings = config.centers === undefined ? undefined : await readCenterSettings(config.centers);
  await using opened = new AsyncDisposableStack();
  for (const path of [paths.stateDb, paths.eventsDb])
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const store = opened.use(new SqliteStateStore({ path: paths.stateDb, clock }));
  const storageToken = await ensureStorageToken(storageTokenPath(config.home));
  const common = { config, logger, clock, storageToken };
  if (settings === undefined) {
    opened.use(await openActiveServer({ ...common, store }));
  } else {
    const center = opened.use(await PlatformCenter.start({ ...common, settings, store }));
    const recovery = new CenterRecovery(center, clock);
    opened.use(
      await runCenter({
        center,
        clock,
        logger,
        openActive: () =>
          openActiveServer({
            ...common,
            store: center.recovery.state,
            center: { platform: center, recovery },
          }),
        openStandby: (problem) => openStandbyServer({ config, logger, center, recovery, problem }),
      }),
    );
  }
  const running = opened.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}
