import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Suspicion } from '../detect/detector.ts';
import { answerVote, type Ballot } from './ballot.ts';
import { type CenterView, candidacies, decide, type PeerView } from './decide.ts';
import { Topology } from './topology.ts';

const centers = ['north', 'south', 'west'].map((name, i) => ({ name, address: `127.0.0.1:${7000 + i}` }));
const topology = new Topology({ primary: 'north', centers });
const alive: Suspicion = { phi: 0.1, suspected: false, silenceMs: 10, because: 'silent for 10 ms' };
const dead: Suspicion = { phi: 20, suspected: true, silenceMs: 5000, because: 'silent for 5000 ms' };

function peer(
  name: string,
  suspicion: Suspicion,
  report: Partial<NonNullable<PeerView['report']>> = {},
): PeerView {
  const position = { generation: 1, revision: 10 };
  return {
    name,
    suspicion,
    report: {
      generation: 1,
      role: 'backup',
      primary: 'north',
      position,
      rebuilding: false,
      suspects: [],
      ...report,
    },
  };
}

const south: CenterView = {
  self: 'south',
  role: 'backup',
  generation: 1,
  position: { generation: 1, revision: 10 },
  rebuilding: false,
  nowMs: 100_000,
  leaseUntilMs: 0,
  promise: undefined,
  primary: 'north',
  peers: [peer('north', dead, { role: 'primary' }), peer('west', alive, { suspects: ['north'] })],
  lag: { bytes: 0, ms: 0 },
  failoversAt: [],
  wallNow: 1_000_000,
  standNotBeforeMs: 0,
};
const op = (view: CenterView, on = topology): string | undefined => decide(view, on)[0]?.op;
const why = (view: CenterView, on = topology): string | undefined => decide(view, on)[0]?.because;

describe('decide', () => {
  it('stands when two vantage points convict the primary and the promise has ended', () => {
    expect(decide(south, topology)).toMatchObject([{ op: 'stand', payload: { generation: 2 } }]);
  });

  it('does not convict on one vantage point', () => {
    const view = { ...south, peers: [peer('north', dead, { role: 'primary' }), peer('west', alive)] };
    expect(op(view)).toBe('wait');
    expect(why(view)).toContain('second vantage point');
  });

  it('waits for the end of its promise', () => {
    expect(why({ ...south, promise: { to: 'north', untilMs: 101_000 } })).toContain('another 1000 ms');
  });

  it('does not stand without a majority', () => {
    const view = { ...south, primary: undefined, peers: [peer('north', dead), peer('west', dead)] };
    expect(why(view)).toContain('only 1 of 3');
  });

  it('lets the newer copy go first', () => {
    const newer = peer('west', alive, { suspects: ['north'], position: { generation: 1, revision: 11 } });
    expect(why({ ...south, peers: [peer('north', dead, { role: 'primary' }), newer] })).toContain(
      'west has a newer copy',
    );
  });

  it('never promotes by itself with two centres and no witness, and says why', () => {
    const two = new Topology({ primary: 'north', centers: centers.slice(0, 2) });
    const view = { ...south, peers: [peer('north', dead, { role: 'primary' })] };
    expect(op(view, two)).toBe('refuse');
    expect(why(view, two)).toContain('two centres and no witness');
  });

  it('refuses to flap, and an asynchronous copy that is too far behind', () => {
    expect(why({ ...south, failoversAt: [990_000] })).toContain('only 10 s ago');
    const lax = new Topology({ primary: 'north', centers, replication: 'async', maxLagMs: 1000 });
    expect(why({ ...south, lag: { bytes: 5, ms: 1500 } }, lax)).toContain('promote by hand');
  });

  it('steps down when its lease is over, or a later generation is known', () => {
    const north: CenterView = {
      ...south,
      self: 'north',
      role: 'primary',
      peers: [peer('south', alive), peer('west', alive)],
    };
    expect(op({ ...north, leaseUntilMs: 200_000 })).toBe('lead');
    expect(op({ ...north, leaseUntilMs: 99_999 })).toBe('step-down');
    const later = [peer('south', alive, { generation: 2 }), peer('west', alive)];
    expect(op({ ...north, leaseUntilMs: 200_000, peers: later })).toBe('step-down');
  });

  it('explains every centre', () => {
    const list = candidacies(south, topology);
    expect(list.map(({ name, mayBePromoted }) => [name, mayBePromoted])).toEqual([
      ['north', false],
      ['south', true],
      ['west', true],
    ]);
    for (const { because } of list) expect(because.length).toBeGreaterThan(5);
  });
});

describe('answerVote', () => {
  const position = fc.record({
    generation: fc.integer({ min: 0, max: 3 }),
    revision: fc.integer({ min: 0, max: 3 }),
  });
  const request = fc.record({
    candidate: fc.constantFrom('a', 'b', 'c'),
    generation: fc.integer({ min: 1, max: 5 }),
    position,
    trial: fc.constant(false),
  });

  it('gives at most one primary a generation, whatever is asked in whatever order', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), request), { maxLength: 60 }), (asked) => {
        const ballots: Ballot[] = Array.from({ length: 3 }, () => ({ generation: 0, votedFor: undefined }));
        const votes = new Map<string, Set<number>>();
        for (const [voter, ask] of asked) {
          const ballot = ballots[voter] ?? { generation: 0, votedFor: undefined };
          const view = { self: String(voter), ballot, position: undefined, promise: undefined, nowMs: 0 };
          if (!answerVote(ask, view).granted) continue;
          expect(ask.generation).toBeGreaterThanOrEqual(ballot.generation);
          ballots[voter] = { generation: ask.generation, votedFor: ask.candidate };
          const key = `${ask.generation} ${ask.candidate}`;
          votes.set(key, (votes.get(key) ?? new Set()).add(voter));
        }
        const won = [...votes].filter(([, voters]) => voters.size >= 2).map(([key]) => key.split(' ')[0]);
        expect(new Set(won).size).toBe(won.length);
      }),
    );
  });

  it('never elects a copy that lacks what the voter has, nor while a promise to another runs', () => {
    fc.assert(
      fc.property(request, position, fc.boolean(), (ask, own, promised) => {
        const view = {
          self: 'v',
          ballot: { generation: 0, votedFor: undefined },
          position: own,
          promise: promised ? { to: 'somebody else', untilMs: 1 } : undefined,
          nowMs: 0,
        };
        const behind =
          ask.position.generation < own.generation ||
          (ask.position.generation === own.generation && ask.position.revision < own.revision);
        expect(answerVote(ask, view).granted).toBe(!behind && !promised);
      }),
    );
  });
});
