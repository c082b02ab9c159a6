// Topology: which centres there are, how they replicate, and the times that decide, checked against each other.

import { HeptadError } from '@heptad/core';
import { z } from 'zod';

/** One site. */
export interface Center {
  /** `[a-z0-9-]`, unique. */
  readonly name: string;
  /** `host:port` where the other centres and clients reach it. */
  readonly address: string;
  /** A witness votes and holds no data. Default false. */
  readonly witness: boolean;
  /** Among equally up-to-date backups the highest goes first. Default 0. */
  readonly priority: number;
}

/** The times that decide, milliseconds. */
export interface Timings {
  /** Between heartbeats. Default 250. */
  readonly heartbeatMs: number;
  /** Tolerated silence beyond the usual interval. Default 1000. */
  readonly acceptablePauseMs: number;
  /** Suspect at this phi. Default 8. */
  readonly phiThreshold: number;
  /** A promise to a primary holds this long after its last heartbeat. Default 6000. */
  readonly leaseTtlMs: number;
  /** A primary stops this much earlier than its promises end: pauses and clock drift. Default 2000. */
  readonly leaseMarginMs: number;
  /** A message to another centre is given up after this. Default 1500. */
  readonly requestTimeoutMs: number;
  /** A synchronous write without enough acknowledgements is reported as unknown after this. Default 5000. */
  readonly commitTimeoutMs: number;
  /** After a failover no other automatic one for this long. Default 60000. */
  readonly cooldownMs: number;
}

/** A validated topology. */
export interface TopologySettings {
  readonly centers: readonly Center[];
  /** Name of the centre that is primary the very first time. */
  readonly primary: string;
  /** `sync`: a write is acknowledged when enough backups have it durably; `async`: at once. */
  readonly replication: 'sync' | 'async';
  /** Backups that must have a synchronous write. Default: so many that a majority of the data centres holds it. */
  readonly syncBackups: number;
  /** An asynchronous backup farther behind than this is not promoted automatically. Default 16 MiB and 10 s. */
  readonly maxLagBytes: number;
  readonly maxLagMs: number;
  /** Automatic failovers allowed in one hour. Default 3. */
  readonly maxFailoversPerHour: number;
  readonly timings: Timings;
}

/** What a topology is made from: everything but centres and primary has a default. */
export interface TopologyInput {
  readonly centers: readonly (Pick<Center, 'name' | 'address'> & Partial<Center>)[];
  readonly primary: string;
  readonly replication?: 'sync' | 'async';
  readonly syncBackups?: number;
  readonly maxLagBytes?: number;
  readonly maxLagMs?: number;
  readonly maxFailoversPerHour?: number;
  readonly timings?: Partial<Timings>;
}

/** Centres of one topology: every one sends heartbeats to every other. */
export const CENTERS_MAX = 9;

const positive = z.number().finite().positive();
const schema = z.strictObject({
  centers: z
    .array(
      z.strictObject({
        name: z
          .string()
          .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be lower-case letters, digits and hyphens'),
        address: z.string().regex(/^\S+:\d{1,5}$/, 'must be host:port'),
        witness: z.boolean().default(false),
        priority: z.number().default(0),
      }),
    )
    .max(CENTERS_MAX),
  primary: z.string(),
  replication: z.enum(['sync', 'async']).default('sync'),
  syncBackups: z.number().int().min(1).optional(),
  maxLagBytes: positive.default(16 * 1024 * 1024),
  maxLagMs: positive.default(10_000),
  maxFailoversPerHour: z.number().int().positive().default(3),
  timings: z
    .strictObject({
      heartbeatMs: positive.default(250),
      acceptablePauseMs: positive.default(1000),
      phiThreshold: z.number().min(1).max(16).default(8),
      leaseTtlMs: positive.default(6000),
      leaseMarginMs: positive.default(2000),
      requestTimeoutMs: positive.default(1500),
      commitTimeoutMs: positive.default(5000),
      cooldownMs: z.number().nonnegative().default(60_000),
    })
    .prefault({}),
});

/**
 * Which centres there are. Immutable.
 *
 * @example
 * ```ts
 * import { Topology } from '@heptad/dr';
 *
 * const topology = new Topology({
 *   primary: 'north',
 *   centers: [
 *     { name: 'north', address: '10.0.0.1:7400' },
 *     { name: 'south', address: '10.0.1.1:7400' },
 *     { name: 'west', address: '10.0.2.1:7400' },
 *   ],
 *   replication: 'sync',
 * });
 * console.log(topology.majority, topology.automaticFailover.possible);
 * ```
 */
export class Topology {
  readonly settings: TopologySettings;

  /** Error: `INVALID_TOPOLOGY` with every problem at once, each saying which settings and how they must relate. */
  constructor(input: TopologyInput) {
    const parsed = schema.safeParse(input);
    if (!parsed.success) throw invalid(z.prettifyError(parsed.error).split('\n'));
    const centers = parsed.data.centers;
    const dataCount = centers.filter(({ witness }) => !witness).length;
    this.settings = { ...parsed.data, syncBackups: parsed.data.syncBackups ?? Math.floor(dataCount / 2) };
    const problems = [...centerProblems(this.settings), ...timingProblems(this.settings.timings)];
    if (problems.length > 0) throw invalid(problems);
  }

  get centers(): readonly Center[] {
    return this.settings.centers;
  }

  get timings(): Timings {
    return this.settings.timings;
  }

  /** Centres that hold data. */
  get dataCenters(): readonly Center[] {
    return this.centers.filter(({ witness }) => !witness);
  }

  /** Votes needed to become primary. */
  get majority(): number {
    return Math.floor(this.centers.length / 2) + 1;
  }

  /**
   * Data centres that must take part in an election, so that at least one of them holds every acknowledged synchronous
   * write: `D − (syncBackups + 1) + 1`. With asynchronous replication one is enough to be elected, and writes may be lost.
   */
  get electionData(): number {
    const { replication, syncBackups } = this.settings;
    return replication === 'sync' ? Math.max(1, this.dataCenters.length - syncBackups) : 1;
  }

  /** The centre of that name. Error: `UNKNOWN_CENTER`. */
  center(name: string): Center {
    const found = this.centers.find((center) => center.name === name);
    if (found !== undefined) return found;
    throw new HeptadError('UNKNOWN_CENTER', `there is no centre "${name}" in this topology`, {
      hint: `its centres are ${this.centers.map((center) => center.name).join(', ')}`,
    });
  }

  /** Whether a backup may be promoted without a person, and why (not). */
  get automaticFailover(): { readonly possible: boolean; readonly because: string } {
    if (this.centers.length >= 3) {
      const text = `${this.majority} of ${this.centers.length} centres can outvote a lost one`;
      return { possible: true, because: text };
    }
    return {
      possible: false,
      because:
        'two centres and no witness: neither can tell a dead partner from a cut line, and promoting on a cut line makes two primaries; add a witness at a third place, or promote by hand once the old primary is known to be off',
    };
  }
}

function centerProblems(settings: TopologySettings): string[] {
  const { centers, primary, syncBackups, replication } = settings;
  const problems: string[] = [];
  const data = centers.filter(({ witness }) => !witness);
  for (const field of ['name', 'address'] as const) {
    const seen = new Set<string>();
    for (const center of centers) {
      if (seen.has(center[field])) problems.push(`two centres have the ${field} ${center[field]}`);
      seen.add(center[field]);
    }
  }
  if (data.length < 2)
    problems.push(`${data.length} centres hold data: failover needs a primary and at least one backup`);
  if (!data.some(({ name }) => name === primary))
    problems.push(`primary "${primary}" is none of the centres that hold data`);
  if (centers.length - data.length > 1) problems.push('more than one witness: one is enough to break a tie');
  if (replication === 'sync' && syncBackups > data.length - 1) {
    problems.push(`syncBackups is ${syncBackups}, but there are only ${data.length - 1} backups`);
  }
  return problems;
}

// The relations that keep a primary from losing its lease over one lost message, and from keeping it too long.
function timingProblems(timings: Timings): string[] {
  const { heartbeatMs, acceptablePauseMs, leaseTtlMs, leaseMarginMs, requestTimeoutMs } = timings;
  const problems: string[] = [];
  if (heartbeatMs < 10) problems.push(`heartbeatMs is ${heartbeatMs}, must be at least 10`);
  if (acceptablePauseMs < 2 * heartbeatMs) {
    problems.push(
      `acceptablePauseMs (${acceptablePauseMs}) must be at least 2 × heartbeatMs (${2 * heartbeatMs}): else one lost heartbeat convicts`,
    );
  }
  if (leaseMarginMs * 10 < leaseTtlMs) {
    problems.push(
      `leaseMarginMs (${leaseMarginMs}) must be at least a tenth of leaseTtlMs (${leaseTtlMs}): clocks drift and processes pause`,
    );
  }
  const usable = leaseTtlMs - leaseMarginMs;
  const needed = heartbeatMs + 2 * requestTimeoutMs;
  if (needed > usable) {
    problems.push(
      `heartbeatMs + 2 × requestTimeoutMs (${needed}) must not exceed leaseTtlMs − leaseMarginMs (${usable}): else a healthy primary steps down over one lost answer`,
    );
  }
  return problems;
}

function invalid(problems: readonly string[]): HeptadError<'INVALID_TOPOLOGY'> {
  const list = problems.map((problem) => `  ${problem}`).join('\n');
  return new HeptadError('INVALID_TOPOLOGY', `cannot use the topology of centres:\n${list}`, {
    hint: 'a primary and two backups, or a primary, a backup and a witness, is what automatic failover needs',
    details: { problems },
  });
}
