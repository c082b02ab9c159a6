// The parts of a centre, made from its options: checked, opened and wired to each other, not yet listening.

import { type Clock, invalidArgument, type ObjectStore, systemClock, systemRandom } from '@heptad/core';
import { FailoverPredictor } from '../predict/predictor.ts';
import type { ApplierHooks, Divergence } from '../replicate/applier.ts';
import { ObjectReplication } from '../replicate/objects.ts';
import { Topology } from '../topology/topology.ts';
import { CenterProtocol } from './center.ts';
import { CenterEvents } from './events.ts';
import { HttpTransport } from './http-transport.ts';
import type { DisasterRecoveryOptions } from './options.ts';

/** See {@link DisasterRecoveryOptions.orphanGraceMs}. */
const DEFAULT_ORPHAN_GRACE_MS = 30_000;
/** Divergences kept for status. */
const DIVERGENCES_MAX = 20;

/** What a centre is made of. */
export interface CenterParts {
  readonly protocol: CenterProtocol;
  readonly objects: ObjectReplication | undefined;
  readonly events: CenterEvents;
  readonly divergences: readonly Divergence[];
  readonly predictor: FailoverPredictor;
  readonly switchOnPrediction: boolean;
}

/** Makes the parts. Errors: `INVALID_TOPOLOGY`, `UNKNOWN_CENTER`, and those of the store. */
export async function openParts(options: DisasterRecoveryOptions): Promise<CenterParts> {
  const { self, store, clock = systemClock, random = systemRandom } = options;
  const topology = options.topology instanceof Topology ? options.topology : new Topology(options.topology);
  if (topology.center(self).witness && options.objects !== undefined) {
    throw invalidArgument(`cannot start ${self} with an object store: a witness holds no data`);
  }
  const transport = options.transport ?? defaultTransport(options, clock);
  const events = new CenterEvents(self, clock);
  const divergences: Divergence[] = [];
  const objects =
    options.objects === undefined
      ? undefined
      : replicationOf(options.objects, { ...options, topology, transport });
  const protocol = await CenterProtocol.open({
    self,
    topology,
    store,
    transport,
    clock,
    random,
    orphanGraceMs: options.orphanGraceMs ?? DEFAULT_ORPHAN_GRACE_MS,
    onEvent: (kind, message) => events.emit(kind, message),
    hooks: hooksOf(objects, divergences, events),
  });
  const { predictor = new FailoverPredictor(), switchOnPrediction = false } = options;
  return { protocol, objects, events, divergences, predictor, switchOnPrediction };
}

function defaultTransport({ secret }: DisasterRecoveryOptions, clock: Clock): HttpTransport {
  return new HttpTransport({ clock, ...(secret === undefined ? {} : { secret }) });
}

function replicationOf(
  objects: ObjectStore,
  options: Required<Pick<DisasterRecoveryOptions, 'self' | 'store' | 'transport'>> & {
    readonly topology: Topology;
  },
): ObjectReplication {
  const { self, store, transport, topology } = options;
  return new ObjectReplication({
    objects,
    state: store,
    call: (name, method, message, timeoutMs, signal) =>
      transport.call(topology.center(name).address, method, message, {
        timeoutMs,
        ...(signal === undefined ? {} : { signal }),
      }),
    others: () => topology.dataCenters.map(({ name }) => name).filter((name) => name !== self),
  });
}

function hooksOf(
  objects: ObjectReplication | undefined,
  divergences: Divergence[],
  events: CenterEvents,
): ApplierHooks {
  return {
    ...(objects === undefined ? {} : { beforeApply: (ops, from) => objects.bringIn(ops, from) }),
    onDivergence: (divergence) => {
      divergences.push(divergence);
      if (divergences.length > DIVERGENCES_MAX) divergences.shift();
      events.emit(
        'divergence',
        `this copy had ${divergence.changedKeys} keys that differ from the primary's; they were replaced: ${divergence.keys.join(', ')}`,
      );
    },
  };
}
