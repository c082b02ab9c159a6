// Asking replicas until every set has its quorum, without waiting for the slow ones.

import { type QuorumFailure, quorumError, type ReplicaAnswer, replicaAnswer } from '../errors.ts';
import type { QuorumSet } from '../placement/layout.ts';

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
  /** Whether an error leaves it open if the node did it. Reads never do. */
  readonly mayHaveHappened?: (error: unknown) => boolean;
  readonly background: BackgroundWork;
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
 * When a set cannot have it any more it waits for the remaining
 * answers, each of which has its own time limit, and rejects with {@link quorumError}: the reader of that error wants to
 * know about every replica.
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
    const outcome = happened || succeeded.length > 0 ? 'unknown' : 'failed';
    const { code, doing } = options;
    reject(quorumError({ code, doing, needed, asked, succeeded, failed: [...failed.values()], outcome }));
  };
  const judge = (): void => {
    if (sets.every((set) => count(set, answers) >= set.quorum)) resolve(new Map(answers));
    else if (answers.size + failed.size >= nodes.length) fail();
  };
  const work = nodes
    .filter((node) => !answers.has(node))
    .map(async (node) => {
      try {
        const answer = await options.ask(node);
        answers.set(node, answer);
        options.onAnswer?.(node, answer);
      } catch (error) {
        if (options.mayHaveHappened?.(error) === true) happened = true;
        failed.set(node, replicaAnswer(node, options.address(node), error));
      }
      judge();
    });
  options.background.add(Promise.all(work));
  const abort = (): void => reject(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    judge();
    return await promise;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

function count(set: QuorumSet, among: ReadonlyMap<string, unknown>): number {
  return set.nodes.filter((node) => among.has(node)).length;
}
