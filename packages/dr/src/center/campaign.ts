// Standing for election: first it asks whether it would be elected, so that a centre that cannot win disturbs nobody; then it asks
// for votes.

import { type Clock, errorMessage, type Random } from '@heptad/core';
import type { VoteRequest } from '../topology/ballot.ts';
import type { Topology } from '../topology/topology.ts';
import type { CenterEventKind } from './events.ts';
import { voteAnswerSchema } from './messages.ts';
import type { Promotion } from './promotions.ts';
import type { Tenure } from './tenure.ts';

/** What a campaign works with. */
export interface CampaignOptions {
  readonly self: string;
  readonly topology: Topology;
  readonly clock: Clock;
  readonly random: Random;
  readonly tenure: Tenure;
  /** The other centres. */
  readonly others: readonly string[];
  readonly call: (name: string, method: string, message: unknown, timeoutMs: number) => Promise<unknown>;
  readonly onEvent: (kind: CenterEventKind, message: string) => void;
}

/** Stands for a generation. Resolves with why it was not elected, or undefined when it was. */
export async function campaign(
  options: CampaignOptions,
  generation: number,
  kind: Promotion['kind'],
  because: string,
): Promise<string | undefined> {
  const { self, clock, random, topology, tenure, onEvent } = options;
  const { heartbeatMs } = topology.timings;
  const { position } = tenure.progress;
  const request = { candidate: self, generation, position };
  const lost = (why: string): string => {
    tenure.yieldFor(heartbeatMs * (1 + 2 * random.next()));
    onEvent('election', `not elected in generation ${generation}: ${why}`);
    return why;
  };
  const trial = await collect(options, { ...request, trial: true });
  if (!trial.enough) return lost(trial.because);
  const sentMs = clock.monotonicMs();
  const votes = await collect(options, { ...request, trial: false });
  if (!votes.enough) return lost(votes.because);
  const crowned = await tenure.crown({ generation, kind, because }, votes.grantedBy, sentMs);
  return crowned ? undefined : lost('a later generation began meanwhile');
}

interface Votes {
  readonly enough: boolean;
  readonly because: string;
  /** The other centres that granted theirs. */
  readonly grantedBy: readonly string[];
}

async function collect(options: CampaignOptions, request: VoteRequest): Promise<Votes> {
  const { topology, self, tenure, others, call } = options;
  const answers = await Promise.all([
    tenure.vote(request).then((answer) => ({ name: self, ...answer })),
    ...others.map(async (name) => {
      try {
        const said = await call(name, 'vote', request, topology.timings.requestTimeoutMs);
        return { name, ...voteAnswerSchema.parse(said) };
      } catch (error) {
        return { name, granted: false, because: errorMessage(error), generation: 0 };
      }
    }),
  ]);
  const granted = answers.filter((answer) => answer.granted);
  const data = granted.filter(({ name }) => !topology.center(name).witness);
  const enough =
    granted.length >= topology.majority &&
    data.length >= topology.electionData &&
    granted.some(({ name }) => name === self);
  const against = answers.filter((answer) => !answer.granted).map((answer) => answer.because);
  const because = `${granted.length} of ${topology.majority} votes, ${data.length} of ${topology.electionData} needed copies; ${against.join('; ')}`;
  return { enough, because, grantedBy: granted.map(({ name }) => name).filter((name) => name !== self) };
}
