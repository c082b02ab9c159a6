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

/**
 * While there is no primary at all, this centre may be elected again: after a crash of its server, say. So long it keeps what runs,
 * which harms nobody, as the server lets none of it read or write.
 */
export const NO_PRIMARY_GRACE_MS = 15_000;

const standingSchema = z.object({ role: z.string(), primary: z.string().optional() });
/** What `/healthz` of the centre's server says. */
export type CenterStanding = z.infer<typeof standingSchema>;

/** What an agent knows when it decides. */
export interface DutyView {
  /** Undefined: the server says nothing. */
  readonly standing: CenterStanding | undefined;
  readonly onDuty: boolean;
  /** Nothing of an earlier duty is left on this machine. */
  readonly clean: boolean;
  /** For how long the server has said that there is no primary. */
  readonly withoutPrimaryMs: number;
}

/** Whether a duty is to begin or to end now. Pure. */
export function decideDuty({
  standing,
  onDuty,
  clean,
  withoutPrimaryMs,
}: DutyView): 'begin' | 'end' | 'keep' {
  if (standing === undefined) return 'keep';
  if (standing.role === 'primary') return onDuty ? 'keep' : 'begin';
  if (clean) return 'keep';
  return standing.primary !== undefined || withoutPrimaryMs > NO_PRIMARY_GRACE_MS ? 'end' : 'keep';
}

/** Follows the centre until the signal aborts; resolves with the duty under way then, if any. */
export async function followCenter(
  options: FollowCenterOptions,
  signal: AbortSignal,
): Promise<Duty | undefined> {
  const { server, clock, logger, begin, clear } = options;
  let duty: Duty | undefined;
  let clean = false;
  let primaryHeardMs = clock.monotonicMs();
  while (!signal.aborted) {
    const standing = await standingOf(server);
    const nowMs = clock.monotonicMs();
    if (standing?.role === 'primary' || standing?.primary !== undefined) primaryHeardMs = nowMs;
    const withoutPrimaryMs = nowMs - primaryHeardMs;
    let pauseMs = POLL_MS;
    try {
      const decision = decideDuty({ standing, onDuty: duty !== undefined, clean, withoutPrimaryMs });
      if (decision === 'begin') {
        duty = await begin();
        clean = false;
      } else if (decision === 'end') {
        logger.info(duty === undefined ? 'this centre is not primary' : 'this centre is no longer primary');
        const ending = duty;
        duty = undefined;
        await ending?.end('remove');
        await clear();
        clean = true;
      }
    } catch (error) {
      logger.warn({ err: error }, 'cannot follow the centre yet');
      pauseMs = RETRY_MS;
    }
    await clock.sleep(pauseMs, signal).catch(() => {});
  }
  return duty;
}

async function standingOf(server: string): Promise<CenterStanding | undefined> {
  try {
    const answer = await request(`${server}/healthz`, { headersTimeout: ANSWER_MS, bodyTimeout: ANSWER_MS });
    return standingSchema.parse(await answer.body.json());
  } catch {
    return undefined;
  }
}
