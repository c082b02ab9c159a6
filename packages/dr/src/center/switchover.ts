// The planned change of primary, losing nothing: both sides of it.

import { HeptadError, invalidArgument } from '@heptad/core';
import type { CenterProtocol } from './center.ts';
import { requirePrimary } from './primacy.ts';

/** A planned switchover gives up when its target has not caught up within this time. */
const SWITCHOVER_TIMEOUT_MS = 10_000;

/** Error: `INVALID_ARGUMENT` when `to` can never take over from this centre. */
export function checkSuccessor(protocol: CenterProtocol, to: string): void {
  const { self, topology } = protocol.options;
  if (topology.center(to).witness || to === self) {
    throw invalidArgument(
      `cannot switch over to ${to}: it is ${to === self ? 'the primary already' : 'a witness'}`,
    );
  }
}

/** The old primary's side. Errors: `NOT_PRIMARY`, `BACKUP_BEHIND`, `SWITCHOVER_FAILED`. */
export async function handOver(protocol: CenterProtocol, to: string): Promise<void> {
  const { self, topology, onEvent } = protocol.options;
  const reign = requirePrimary(protocol);
  const { requestTimeoutMs, leaseTtlMs } = topology.timings;
  const { generation } = reign;
  onEvent('role', `handing over to ${to}`);
  protocol.handingOver = true;
  try {
    await reign.caughtUp(to, SWITCHOVER_TIMEOUT_MS);
  } catch (error) {
    protocol.handingOver = false;
    throw error;
  }
  await protocol.stepDown(`handing over to ${to}`);
  protocol.handingOver = false;
  protocol.yieldFor(leaseTtlMs);
  const message = { from: self, generation };
  const released = protocol.peers.names.map((name) =>
    protocol.call(name, 'release', message, requestTimeoutMs),
  );
  await Promise.allSettled(released);
  try {
    await protocol.call(to, 'take-over', message, 3 * requestTimeoutMs);
  } catch (cause) {
    protocol.yieldFor(0);
    throw new HeptadError(
      'SWITCHOVER_FAILED',
      `${to} did not take over: ${cause instanceof Error ? cause.message : cause}`,
      { cause, hint: 'nothing is lost; the centres elect a primary among themselves', retryable: true },
    );
  }
}

/** The new primary's side. Error: `NOT_ELECTED`. */
export async function takeOver(protocol: CenterProtocol, from: string, generation: number): Promise<void> {
  if (protocol.generation > generation) {
    throw new HeptadError('NOT_ELECTED', `generation ${protocol.generation} has begun meanwhile`);
  }
  await protocol.onRelease(from, generation);
  const lost = await protocol.campaign(generation + 1, 'switchover', `taken over from ${from} by plan`);
  if (lost !== undefined)
    throw new HeptadError('NOT_ELECTED', `${protocol.options.self} was not elected: ${lost}`);
}
