// The picture of a centre that status and explain give.

import type { Divergence } from '../replicate/applier.ts';
import type { SenderStatus } from '../replicate/sender.ts';
import { type Candidacy, candidacies } from '../topology/decide.ts';
import type { Position } from '../topology/position.ts';
import type { CenterProtocol } from './center.ts';
import type { CenterRole } from './messages.ts';
import type { Promotion } from './promotions.ts';

/** What one centre knows of another. */
export interface PeerStatus {
  readonly name: string;
  readonly address: string;
  readonly role?: CenterRole;
  readonly generation?: number;
  readonly position?: Position;
  readonly phi: number;
  readonly suspected: boolean;
  readonly message: string;
}

/** Answer of `status()`. JSON-safe. */
export interface CenterStatus {
  readonly self: string;
  readonly address: string;
  readonly role: CenterRole;
  readonly generation: number;
  /** Whom it follows; itself as primary; undefined: nobody. */
  readonly primary?: string;
  readonly primaryAddress?: string;
  /** Takes reads and writes now. */
  readonly serving: boolean;
  /** Of a primary. */
  readonly leaseLeftMs?: number;
  readonly position: Position;
  readonly replication: 'sync' | 'async';
  readonly automaticFailover: { readonly possible: boolean; readonly because: string };
  /** Of a primary: how each backup is doing. */
  readonly backups: readonly SenderStatus[];
  readonly peers: readonly PeerStatus[];
  readonly promotions: readonly Promotion[];
  /** Copies of this centre that had changes of their own and were rebuilt. */
  readonly divergences: readonly Divergence[];
  /** The latest turn of the decision loop, as a sentence. */
  readonly decision: string;
}

/** Answer of `explain()`. JSON-safe. */
export interface CenterExplanation {
  readonly self: string;
  readonly decision: string;
  /** Every centre, with the reason it may or may not be promoted now, as far as this one knows. */
  readonly candidates: readonly Candidacy[];
}

/** What no decision was taken yet is called. */
const UNDECIDED = 'no decision yet';

/** The status of a centre. */
export function statusOf(
  protocol: CenterProtocol,
  own: { readonly address: string; readonly divergences: readonly Divergence[] },
): CenterStatus {
  const { primary, leaseLeftMs } = protocol;
  const { self, topology } = protocol.options;
  return {
    self,
    address: own.address,
    role: protocol.role,
    generation: protocol.generation,
    ...(primary === undefined ? {} : { primary, primaryAddress: topology.center(primary).address }),
    serving: protocol.serving,
    ...(leaseLeftMs === undefined ? {} : { leaseLeftMs: Math.round(leaseLeftMs) }),
    position: protocol.progress.position,
    replication: topology.settings.replication,
    automaticFailover: topology.automaticFailover,
    backups: protocol.reign?.replication() ?? [],
    peers: protocol.view().peers.map(({ name, suspicion, report }) => ({
      name,
      address: topology.center(name).address,
      ...(report === undefined ? {} : { role: report.role, generation: report.generation }),
      ...(report?.position === undefined ? {} : { position: report.position }),
      phi: Number(suspicion.phi.toFixed(2)),
      suspected: suspicion.suspected,
      message: suspicion.because,
    })),
    promotions: protocol.promotions,
    divergences: [...own.divergences],
    decision: protocol.decision?.because ?? UNDECIDED,
  };
}

/** Why things are as they are at a centre. */
export function explanationOf(protocol: CenterProtocol): CenterExplanation {
  const { self, topology } = protocol.options;
  return {
    self,
    decision: protocol.decision?.because ?? UNDECIDED,
    candidates: candidacies(protocol.view(), topology),
  };
}
