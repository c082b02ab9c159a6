// The small interfaces between the chaos controller and the system it tests.

import type { Clock } from '@heptad/core';

/** One running copy of a target: a container or a process. */
export interface ChaosInstance {
  /** Name for people and reports: a container's id or name. */
  readonly id: string;
  /** Process id on this machine, in this process's pid namespace; needed by both built-in faults. */
  readonly pid?: number;
  /** Network namespace as a path. Default `/proc/<pid>/ns/net`. */
  readonly netns?: string;
  /** Where the instance answers. */
  readonly address?: string;
  /** TCP ports it serves. */
  readonly ports?: readonly number[];
  /** Whether it takes traffic. Default true. */
  readonly ready?: boolean;
}

/** What a scenario's `target` means right now. */
export interface ChaosTarget {
  readonly name: string;
  readonly instances: readonly ChaosInstance[];
  /** Where the target's own outgoing connections go; needed for `direction: from | both`. */
  readonly peers?: readonly { readonly address: string; readonly port: number }[];
}

/** Looks up targets. `TARGET_NOT_FOUND` when there is none of that name. */
export interface TargetResolver {
  resolve(name: string, signal?: AbortSignal): Promise<ChaosTarget>;
}

/** What one look at the system from the user's side found. */
export interface ProbeOutcome {
  readonly ok: boolean;
  /** Shown in the timeline when `ok` is false. */
  readonly message?: string;
}

/** One look at the system from the user's side: order a thing, load a page. A rejection counts as `ok: false`. */
export type Probe = (signal: AbortSignal) => Promise<ProbeOutcome>;

/** Reads the current value of a metric whose source is not one of the controller's own `probe:` figures. */
export interface MetricReader {
  /** A number in the metric's own unit (milliseconds, fractions 0..1, counts). */
  read(source: string, signal: AbortSignal): Promise<number>;
}

/** Whether a fault was really there, and how that is known. */
export interface Proof {
  readonly proven: boolean;
  /** A sentence for people. */
  readonly because: string;
  /** The figures behind it. */
  readonly evidence: Readonly<Record<string, number | string | readonly number[]>>;
}

/** What must be known to take a fault back, even by another process, even after a reboot. JSON-safe. */
export interface FaultRecord {
  readonly id: string;
  readonly experimentId: string;
  readonly type: string;
  readonly target: string;
  readonly instances: readonly ChaosInstance[];
  /** Wall time after which anybody may and must take it back. Pushed on while its controller lives. */
  readonly expiresAt: number;
  /** What the injector itself needs, known before it acts. */
  readonly data: Readonly<Record<string, unknown>>;
}

/** What an injector is given. */
export interface InjectionRequest {
  readonly faultId: string;
  readonly target: ChaosTarget;
  readonly params: Readonly<Record<string, unknown>>;
  /** The fault must end by itself this long after the last renewal. */
  readonly ttlMs: number;
  readonly resolve: (signal?: AbortSignal) => Promise<ChaosTarget>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onEvent: (message: string) => void;
}

/** A fault that is there. */
export interface ActiveFault {
  /** Pushes its end on by the fault's ttl. */
  renew(): Promise<void>;
  /** Looks once whether it is really there; called through the whole window. */
  observe(signal: AbortSignal): Promise<void>;
  /** Takes it back. Idempotent. */
  remove(): Promise<void>;
  /** After `remove`: waits until the target is whole again, or rejects saying what is missing. */
  recovered(signal: AbortSignal): Promise<void>;
  /** The verdict over all observations. Called last. */
  proof(): Proof;
}

/** One kind of fault. */
export interface Injector {
  /** The scenario's `type`. */
  readonly type: string;
  /** What {@link Injector.undo} will need; pure, called before anything is done, stored durably, then `inject` runs. */
  plan(request: InjectionRequest): Promise<Readonly<Record<string, unknown>>>;
  inject(request: InjectionRequest): Promise<ActiveFault>;
  /** Takes a fault back without the process that made it. Idempotent; resolves with what was found, as a sentence. */
  undo(record: FaultRecord): Promise<string>;
}
