// How to run a centre.

import type { Clock, ObjectStore, Random, StateStore } from '@heptad/core';
import type { FailoverPredictor } from '../predict/predictor.ts';
import type { Topology, TopologyInput } from '../topology/topology.ts';
import type { Transport } from './transport.ts';

/** Options of `DisasterRecovery.start`. */
export interface DisasterRecoveryOptions {
  readonly topology: Topology | TopologyInput;
  /** Name of this centre. */
  readonly self: string;
  /** Its own copy. A witness needs one too, for its votes. Must survive restarts: a vote forgotten is a vote given twice. */
  readonly store: StateStore;
  /** Its own objects; replicated when written through `DisasterRecovery.objects`. */
  readonly objects?: ObjectStore;
  /** Where to listen. Default: the centre's address in the topology. */
  readonly listen?: string;
  /** Shared by all centres and clients; every message is signed with it. */
  readonly secret?: string;
  /** Switch over by plan when the predictor advises it. Default false: only an event is emitted. */
  readonly switchOnPrediction?: boolean;
  readonly predictor?: FailoverPredictor;
  /**
   * After a promotion, keys that hung on leases of the old primary live so long, for their owners to come back and claim
   * them. 0: they go at once; right when nobody who held one can reach this centre. Default 30000.
   */
  readonly orphanGraceMs?: number;
  /** Default: HTTP. */
  readonly transport?: Transport;
  readonly clock?: Clock;
  readonly random?: Random;
}
