// The decider: from what one centre knows to what it should do now, each with the sentence why. Pure.

import type { Step } from '@heptad/core';
import type { CenterRole } from '../center/messages.ts';
import type { Suspicion } from '../detect/detector.ts';
import { comparePositions, formatPosition, type Position } from './position.ts';
import type { Topology } from './topology.ts';

/** What one centre knows of another. */
export interface PeerView {
  readonly name: string;
  readonly suspicion: Suspicion;
  /** From its latest heartbeat; undefined: it was never heard since this process began. */
  readonly report:
    | {
        readonly generation: number;
        readonly role: CenterRole;
        readonly primary?: string | undefined;
        readonly position?: Position | undefined;
        readonly rebuilding: boolean;
        readonly suspects: readonly string[];
      }
    | undefined;
}

/** What one centre knows. Times are its own monotonic clock's, unless said otherwise. */
export interface CenterView {
  readonly self: string;
  readonly role: CenterRole;
  /** Highest generation it has voted in or followed. */
  readonly generation: number;
  readonly position: Position;
  readonly rebuilding: boolean;
  readonly nowMs: number;
  /** Of a primary: when it must stop unless a majority answers before. */
  readonly leaseUntilMs: number;
  /** Until when it has promised to follow that centre. */
  readonly promise: { readonly to: string; readonly untilMs: number } | undefined;
  /** Whom it follows, or followed last, in this generation. */
  readonly primary: string | undefined;
  readonly peers: readonly PeerView[];
  /** How far its copy was behind the primary's at the last heartbeat. */
  readonly lag: { readonly bytes: number; readonly ms: number };
  /** Wall times of the automatic failovers known, newest last. */
  readonly failoversAt: readonly number[];
  /** Wall time. */
  readonly wallNow: number;
  /** Not before this: spreads candidates that are equally good. */
  readonly standNotBeforeMs: number;
}

/** What a centre can do. */
export type DecisionOp = 'stand' | 'step-down' | 'lead' | 'follow' | 'wait' | 'refuse';

/** A step of the decider; `stand` and `step-down` act, the others say why nothing is done. */
export type DecisionStep = Step<DecisionOp, { readonly generation: number }>;

/** Whether one centre may be promoted now, and why (not). */
export interface Candidacy {
  readonly name: string;
  readonly mayBePromoted: boolean;
  readonly because: string;
}

const HOUR_MS = 3_600_000;

/** Decides. One step, as there is only one thing a centre can be about. Pure, total, deterministic. */
export function decide(view: CenterView, topology: Topology): readonly DecisionStep[] {
  const step = (op: DecisionOp, because: string): readonly DecisionStep[] => [
    { op, object: `Center/default/${view.self}`, because, payload: { generation: view.generation } },
  ];
  if (view.role === 'witness') return step('follow', 'a witness only votes');
  const ahead = view.peers.find(({ report }) => (report?.generation ?? 0) > view.generation);
  if (view.role === 'primary') {
    if (ahead !== undefined) {
      return step(
        'step-down',
        `${ahead.name} is in generation ${ahead.report?.generation}, this is only ${view.generation}: another primary was elected`,
      );
    }
    if (topology.automaticFailover.possible && view.nowMs >= view.leaseUntilMs) {
      return step(
        'step-down',
        `no majority (${topology.majority} of ${topology.centers.length}) has answered within the lease: another centre may be elected from now on`,
      );
    }
    return step('lead', `primary of generation ${view.generation}`);
  }
  const blocked = blockedBecause(view, topology);
  if (blocked !== undefined) return step(blocked.op, blocked.because);
  const [generation, why] = [highestGeneration(view) + 1, standBecause(view, topology)];
  return [{ op: 'stand', object: `Center/default/${view.self}`, because: why, payload: { generation } }];
}

function highestGeneration(view: CenterView): number {
  return Math.max(view.generation, ...view.peers.map(({ report }) => report?.generation ?? 0));
}

function standBecause(view: CenterView, topology: Topology): string {
  if (highestGeneration(view) === 0)
    return `${view.self} is the primary of the topology and there has been none before`;
  const gone = view.primary === undefined ? 'there is no primary' : `${view.primary} is convicted`;
  return `${gone}; ${view.self} is the most up-to-date of the reachable copies (${formatPosition(view.position)}) and ${topology.majority} of ${topology.centers.length} centres can be reached`;
}

interface Blocked {
  readonly op: 'follow' | 'wait' | 'refuse';
  readonly because: string;
}

// Why this backup does not stand now; undefined: it does.
function blockedBecause(view: CenterView, topology: Topology): Blocked | undefined {
  if (highestGeneration(view) === 0) return firstStart(view, topology);
  const primary = view.peers.find(({ name, report }) => report?.role === 'primary' && name === view.primary);
  if (primary !== undefined && !primary.suspicion.suspected) {
    return { op: 'follow', because: `${primary.name} is primary and alive (${primary.suspicion.because})` };
  }
  return (
    noAutomatic(view, topology) ??
    unfit(view) ??
    notConvicted(view, primary) ??
    noMajority(view, topology) ??
    stillPromised(view) ??
    flapping(view, topology) ??
    tooFarBehind(view, topology) ??
    betterCandidate(view, topology) ??
    notYet(view)
  );
}

function firstStart(view: CenterView, topology: Topology): Blocked | undefined {
  const { primary } = topology.settings;
  if (view.self !== primary) {
    return {
      op: 'wait',
      because: `the very first primary is ${primary}, as the topology says; it has not begun yet`,
    };
  }
  return noMajority(view, topology);
}

function unfit(view: CenterView): Blocked | undefined {
  if (!view.rebuilding) return undefined;
  return { op: 'refuse', because: 'its copy is being rebuilt and is neither here nor there' };
}

function noAutomatic(view: CenterView, topology: Topology): Blocked | undefined {
  const { possible, because } = topology.automaticFailover;
  // With nobody to be cut off from, a restart of both is no failover: both must agree anyway.
  const everybodyHere = reachable(view).length === topology.centers.length;
  return possible || everybodyHere ? undefined : { op: 'refuse', because };
}

// At least two vantage points must suspect a primary: one suspicion may be a broken line of our own.
function notConvicted(view: CenterView, primary: PeerView | undefined): Blocked | undefined {
  if (primary === undefined) return undefined;
  const others = view.peers.filter(
    ({ name, suspicion, report }) =>
      name !== primary.name && !suspicion.suspected && report?.suspects.includes(primary.name),
  );
  if (others.length >= 1) return undefined;
  // All who are left agree by being heard: they say whom they follow, and it is nobody else.
  return {
    op: 'wait',
    because: `only ${view.self} suspects ${primary.name} (${primary.suspicion.because}); a second vantage point is needed`,
  };
}

function reachable(view: CenterView): readonly string[] {
  const heard = view.peers.filter(({ report, suspicion }) => report !== undefined && !suspicion.suspected);
  return [view.self, ...heard.map(({ name }) => name)];
}

function noMajority(view: CenterView, topology: Topology): Blocked | undefined {
  const names = reachable(view);
  if (names.length >= topology.majority) return undefined;
  return {
    op: 'wait',
    because: `only ${names.length} of ${topology.centers.length} centres can be reached (${names.join(', ')}), ${topology.majority} are needed`,
  };
}

function stillPromised(view: CenterView): Blocked | undefined {
  const { promise, nowMs } = view;
  if (promise === undefined || promise.untilMs <= nowMs || promise.to === view.self) return undefined;
  return {
    op: 'wait',
    because: `it promised to follow ${promise.to} for another ${Math.ceil(promise.untilMs - nowMs)} ms`,
  };
}

function flapping(view: CenterView, topology: Topology): Blocked | undefined {
  const { cooldownMs } = topology.timings;
  const last = view.failoversAt.at(-1);
  if (last !== undefined && view.wallNow - last < cooldownMs) {
    const left = Math.ceil((cooldownMs - (view.wallNow - last)) / 1000);
    return {
      op: 'refuse',
      because: `the last automatic failover is only ${Math.round((view.wallNow - last) / 1000)} s ago: no other for ${left} s`,
    };
  }
  const lastHour = view.failoversAt.filter((at) => view.wallNow - at < HOUR_MS).length;
  if (lastHour < topology.settings.maxFailoversPerHour) return undefined;
  return {
    op: 'refuse',
    because: `${lastHour} automatic failovers within an hour: something moves back and forth, a person must look`,
  };
}

function tooFarBehind(view: CenterView, topology: Topology): Blocked | undefined {
  const { replication, maxLagBytes, maxLagMs } = topology.settings;
  if (replication === 'sync' || (view.lag.bytes <= maxLagBytes && view.lag.ms <= maxLagMs)) return undefined;
  return {
    op: 'refuse',
    because: `its copy was ${view.lag.bytes} bytes and ${Math.round(view.lag.ms)} ms behind at the last heartbeat, more than the ${maxLagBytes} bytes and ${maxLagMs} ms allowed: promote by hand to accept the loss`,
  };
}

function betterCandidate(view: CenterView, topology: Topology): Blocked | undefined {
  const own = topology.center(view.self);
  const better = view.peers.find(({ name, suspicion, report }) => {
    const center = topology.centers.find((candidate) => candidate.name === name);
    if (center === undefined || center.witness || suspicion.suspected || report?.position === undefined)
      return false;
    if (report.rebuilding) return false;
    const ahead = comparePositions(report.position, view.position);
    if (ahead !== 0) return ahead > 0;
    return center.priority !== own.priority ? center.priority > own.priority : center.name < own.name;
  });
  if (better?.report?.position === undefined) return undefined;
  const theirs = better.report.position;
  if (comparePositions(theirs, view.position) > 0) {
    return {
      op: 'wait',
      because: `${better.name} has a newer copy (${formatPosition(theirs)}, here ${formatPosition(view.position)}): it goes first`,
    };
  }
  // Equally good: the other goes first, but not for ever.
  if (view.nowMs >= view.standNotBeforeMs + 2 * topology.timings.requestTimeoutMs) return undefined;
  return { op: 'wait', because: `${better.name} is as up to date and goes first by priority or name` };
}

function notYet(view: CenterView): Blocked | undefined {
  if (view.nowMs >= view.standNotBeforeMs) return undefined;
  return { op: 'wait', because: `it stands in ${Math.ceil(view.standNotBeforeMs - view.nowMs)} ms` };
}

/** Every centre with the reason it may or may not be promoted now, as far as this centre knows. Pure. */
export function candidacies(view: CenterView, topology: Topology): readonly Candidacy[] {
  return topology.centers.map((center): Candidacy => {
    const no = (because: string): Candidacy => ({ name: center.name, mayBePromoted: false, because });
    if (center.witness) return no('a witness holds no data');
    if (center.name === view.self) {
      if (view.role === 'primary') return no('it is the primary');
      const blocked = blockedBecause(view, topology);
      return blocked === undefined
        ? { name: center.name, mayBePromoted: true, because: standBecause(view, topology) }
        : no(blocked.because);
    }
    const peer = view.peers.find(({ name }) => name === center.name);
    if (peer?.report === undefined) return no('it has not been heard since this process began');
    if (peer.suspicion.suspected) return no(`it is suspected: ${peer.suspicion.because}`);
    if (peer.report.role === 'primary') return no('it is the primary');
    if (peer.report.rebuilding) return no('its copy is being rebuilt');
    if (peer.report.position === undefined) return no('it has not said how far its copy is');
    const ahead = comparePositions(peer.report.position, view.position);
    if (ahead < 0) {
      return no(
        `its copy (${formatPosition(peer.report.position)}) is behind ${view.self}'s (${formatPosition(view.position)})`,
      );
    }
    return {
      name: center.name,
      mayBePromoted: true,
      because: `its copy is at ${formatPosition(peer.report.position)}; it decides itself`,
    };
  });
}
