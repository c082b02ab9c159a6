// The agent at one of several centres: on duty while its server says that this centre is primary, idle while it says that another
// one is, and as it was while the server says nothing.

import type { Clock } from '@heptad/core';
import type { Logger } from 'pino';
import { request } from 'undici';
import { z } from 'zod';
import type { Duty } from './duty.ts';

/** What it works with. */
export interface FollowCenterOptions {
  readonly server: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly begin: () => Promise<Duty>;
  /** Removes what an earlier duty left. */
  readonly clear: () => Promise<void>;
}

const POLL_MS = 500;
const ANSWER_MS = 2_000;
/** After a duty could not begin or end. */
const RETRY_MS = 1_000;

const health = z.object({ role: z.string() });

/** Follows the centre until the signal aborts; resolves with the duty under way then, if any. */
export async function followCenter(
  options: FollowCenterOptions,
  signal: AbortSignal,
): Promise<Duty | undefined> {
  const { server, clock, logger, begin, clear } = options;
  let duty: Duty | undefined;
  let cleared = false;
  while (!signal.aborted) {
    const role = await roleOf(server);
    let pauseMs = POLL_MS;
    try {
      if (role === 'primary' && duty === undefined) {
        duty = await begin();
        cleared = false;
      } else if (role !== undefined && role !== 'primary' && !cleared) {
        logger.info(duty === undefined ? 'this centre is not primary' : 'this centre is no longer primary');
        const ending = duty;
        duty = undefined;
        await ending?.end('remove');
        await clear();
        cleared = true;
      }
    } catch (error) {
      logger.warn({ err: error }, 'cannot follow the centre yet');
      pauseMs = RETRY_MS;
    }
    await clock.sleep(pauseMs, signal).catch(() => {});
  }
  return duty;
}

async function roleOf(server: string): Promise<string | undefined> {
  try {
    const answer = await request(`${server}/healthz`, { headersTimeout: ANSWER_MS, bodyTimeout: ANSWER_MS });
    return health.parse(await answer.body.json()).role;
  } catch {
    return undefined;
  }
}
