// The picture of a centre that status and explain give.

import type { Divergence } from '../replicate/applier.ts';
import type { SenderStatus } from '../replicate/sender.ts';
import type { Candidacy } from '../topology/decide.ts';
import type { Position } from '../topology/position.ts';
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
