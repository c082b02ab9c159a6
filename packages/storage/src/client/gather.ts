// Asking replicas until every set has its quorum, without waiting for the slow ones.

import type { Clock } from '@heptad/core';
import { type QuorumFailure, quorumError, type ReplicaAnswer, replicaAnswer } from '../errors.ts';
import type { QuorumSet } from '../placement/layout.ts';

/** Rounds in which nodes that could not be reached are asked again when there is no quorum without them. */
const MAX_ROUNDS = 3;
/** Pause before such a round: a restarted node listens again within about this. */
const ROUND_PAUSE_MS = 100;
/** Failures of the way to the node rather than of the node: everything we ask is safe to ask twice. */
const WORTH_ASKING_AGAIN = ['NODE_UNREACHABLE', 'NODE_CONNECTION_LOST', 'BUSY'];

/** What to gather. */
export interface GatherOptions<T> {
  readonly sets: readonly QuorumSet[];
  /** Asks one node. */
  readonly ask: (node: string) => Promise<T>;
  /** Answers that are known already and need no asking. */
  readonly known?: ReadonlyMap<string, T>;
  readonly code: QuorumFailure['code'];
  /** For the error: "store orders/1". */
  readonly doing: string;
  readonly address: (node: string) => string;
  /** For requests that change something: whether an error leaves it open if the node did it. */
  readonly mayHaveHappened?: (error: unknown) => boolean;
  readonly background: BackgroundWork;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** Called with each answer, also with those after the quorum. */
  readonly onAnswer?: (node: string, answer: T) => void;
}

/** Requests that go on after their operation has been answered; closing waits for them. */
export class BackgroundWork {
  readonly #running = new Set<Promise<unknown>>();

  /** Follows a promise; its failure is nobody's business any more. */
  add(work: Promise<unknown>): void {
    const quiet = work.catch(() => undefined).finally(() => this.#running.delete(quiet));
    this.#running.add(quiet);
  }

  /** Resolves when nothing is running. */
  async settle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}

/**
 * Asks every node of every set at once and resolves with the answers so far as soon as each set has its quorum.
 * When all have answered and a set lacks it, nodes that were out of reach are asked again: one may have restarted just
 * when another died. If that does not help it rejects with {@link quorumError}, which tells of every replica.
 */
export async function gather<T>(options: GatherOptions<T>): Promise<Map<string, T>> {
  const { sets, signal } = options;
  signal?.throwIfAborted();
  const nodes = [...new Set(sets.flatMap((set) => set.nodes))];
  const answers = new Map<string, T>(options.known);
  const failed = new Map<string, ReplicaAnswer>();
  let happened = answers.size > 0;
  const { promise, resolve, reject } = Promise.withResolvers<Map<string, T>>();
  const fail = (): void => {
    const asked = nodes.length;
    const needed = Math.max(...sets.map((set) => set.quorum));
    const succeeded = [...answers.keys()];
    const { code, doing } = options;
    const changes = options.mayHaveHappened !== undefined;
    const outcome = changes && (happened || succeeded.length > 0) ? 'unknown' : 'failed';
    reject(quorumError({ code, doing, needed, asked, succeeded, failed: [...failed.values()], outcome }));
  };
  const askOne = async (node: string): Promise<void> => {
    try {
      const answer = await options.ask(node);
      failed.delete(node);
      answers.set(node, answer);
      options.onAnswer?.(node, answer);
    } catch (error) {
      if (options.mayHaveHappened?.(error) === true) happened = true;
      failed.set(node, replicaAnswer(node, options.address(node), error));
    }
    if (!lacking(sets, answers)) resolve(new Map(answers));
  };
  const askAll = async (): Promise<void> => {
    await Promise.all(nodes.filter((node) => !answers.has(node)).map(askOne));
    for (
      let round = 2;
      round <= MAX_ROUNDS && lacking(sets, answers) && signal?.aborted !== true;
      round += 1
    ) {
      const again = [...failed.values()].filter(({ code }) => WORTH_ASKING_AGAIN.includes(code));
      if (again.length === 0) break;
      await options.clock.sleep(ROUND_PAUSE_MS);
      await Promise.all(again.map(({ node }) => askOne(node)));
    }
    if (lacking(sets, answers)) fail();
  };
  const abort = (): void => reject(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    if (!lacking(sets, answers)) return answers;
    options.background.add(askAll());
    return await promise;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

function lacking(sets: readonly QuorumSet[], answers: ReadonlyMap<string, unknown>): boolean {
  return sets.some((set) => count(set, answers) < set.quorum);
}

function count(set: QuorumSet, among: ReadonlyMap<string, unknown>): number {
  return set.nodes.filter((node) => among.has(node)).length;
}
