// The vote: the pure rule by which a centre grants or refuses to follow a candidate. Everything safe about failover is here.

import { comparePositions, formatPosition, type Position } from './position.ts';

/** What a centre remembers across restarts. Written durably before any answer that rests on it. */
export interface Ballot {
  /** Highest generation it has voted in or followed. Never goes back. */
  readonly generation: number;
  /** Whom it voted for in that generation; one vote a generation. */
  readonly votedFor: string | undefined;
}

/** Of a centre that has never voted. */
export const BLANK_BALLOT: Ballot = { generation: 0, votedFor: undefined };

/** A candidate's request. */
export interface VoteRequest {
  readonly candidate: string;
  /** The generation it wants to be primary of. */
  readonly generation: number;
  readonly position: Position;
  /** Only asks what the answer would be. */
  readonly trial: boolean;
}

/** What the voter knows when asked. Times on its own monotonic clock. */
export interface VoterView {
  readonly self: string;
  readonly ballot: Ballot;
  /** Undefined for a witness: it holds nothing that could be lost. */
  readonly position: Position | undefined;
  /** Until when it has promised to follow nobody else, and whom it promised. */
  readonly promise: { readonly to: string; readonly untilMs: number } | undefined;
  readonly nowMs: number;
}

/** The answer. */
export interface VoteAnswer {
  readonly granted: boolean;
  readonly because: string;
}

/**
 * Grants only when all hold:
 * 1. the generation is higher than any voted in or followed, or this very vote was given before (idempotent);
 * 2. no promise to another primary is running: hence an old primary's lease has ended before a new one begins;
 * 3. the candidate has all this voter has: hence whoever is elected has everything an overlapping set acknowledged.
 *
 * (1) and durable ballots give at most one primary a generation: two majorities share a voter, who votes once.
 */
export function answerVote(request: VoteRequest, view: VoterView): VoteAnswer {
  const { ballot, promise } = view;
  const no = (because: string): VoteAnswer => ({
    granted: false,
    because: `${view.self} refuses: ${because}`,
  });
  const again = request.generation === ballot.generation && ballot.votedFor === request.candidate;
  if (request.generation <= ballot.generation && !again) {
    return no(
      request.generation === ballot.generation && ballot.votedFor !== undefined
        ? `it voted for ${ballot.votedFor} in generation ${ballot.generation}`
        : `it knows generation ${ballot.generation} already`,
    );
  }
  if (promise !== undefined && promise.to !== request.candidate && promise.untilMs > view.nowMs) {
    return no(`it follows ${promise.to} for another ${Math.ceil(promise.untilMs - view.nowMs)} ms`);
  }
  if (view.position !== undefined && comparePositions(request.position, view.position) < 0) {
    return no(
      `its copy (${formatPosition(view.position)}) is ahead of ${request.candidate}'s (${formatPosition(request.position)})`,
    );
  }
  return { granted: true, because: `${view.self} agrees` };
}
