// What `heptad up` shows of a centre: that it becomes primary or standby, and, while it is primary, the platform's events.

import { HeptadError, systemClock } from '@heptad/core';
import { ApiClient } from '../../client/api-client.ts';
import type { PlatformConfig } from '../../config.ts';
import { localClient } from '../../platform.ts';
import type { Standing } from '../../server/standby-server.ts';
import { say } from '../output.ts';
import { followEvents, type PlatformEvent } from './inspect.ts';

const POLL_MS = 1_000;

/** Shows it until the signal aborts. Never rejects. */
export async function followStanding(
  config: PlatformConfig,
  show: (event: PlatformEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const server = new ApiClient({ server: `http://${config.host}:${config.port}` });
  const self = config.centers?.self;
  let told: string | undefined;
  while (!signal.aborted) {
    const standing = await server.json<Standing>('GET', '/healthz').catch(() => undefined);
    const text =
      standing === undefined
        ? told
        : standing.role === 'primary'
          ? `${self} is primary`
          : `${self} is a standby${standing.primary === undefined ? '; there is no primary' : ` of ${standing.primary}`}`;
    if (text !== told && text !== undefined) say(text);
    told = text;
    if (standing?.role === 'primary') await eventsOf(config, show, signal);
    await systemClock.sleep(POLL_MS, signal).catch(() => {});
  }
}

/** Events for as long as this centre is primary. */
async function eventsOf(
  config: PlatformConfig,
  show: (event: PlatformEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  try {
    await followEvents(await localClient(config), show, signal);
  } catch (error) {
    if (!(error instanceof HeptadError)) throw error;
  }
}
