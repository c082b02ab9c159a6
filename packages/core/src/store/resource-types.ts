// What goes into and comes out of Resources.

import type { z } from 'zod';
import type { Revision } from '../contracts/state-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Random } from '../ports/random.ts';
import type { Labels, RESOURCE_SCHEMAS, ResourceKind, ResourceOf } from '../resources/index.ts';

/** What may be written as a spec: fields with defaults may be left out. */
export type SpecInput<K extends ResourceKind> = z.input<(typeof RESOURCE_SCHEMAS)[K]>['spec'];
/** The status of a kind. */
export type StatusOf<K extends ResourceKind> = ResourceOf<K>['status'];

/** One change of a resource. */
export type ResourceChange<K extends ResourceKind> =
  | { readonly type: 'put'; readonly resource: ResourceOf<K>; readonly revision: Revision }
  | {
      readonly type: 'delete';
      readonly name: string;
      readonly namespace: string;
      /** What it was before. */
      readonly previous?: ResourceOf<K>;
      readonly revision: Revision;
    };

/** What `Resources.apply` should make true. */
export interface ApplyInput<K extends ResourceKind> {
  readonly name: string;
  readonly spec: SpecInput<K>;
  /** Used only when the resource is created. Default: the kind's initial status. */
  readonly status?: StatusOf<K>;
  /** Replaces the labels. Default: keeps them (none at creation). */
  readonly labels?: Labels;
  /** Replaces the finalizers. Default: keeps them (none at creation). */
  readonly finalizers?: readonly string[];
}

/** How to apply. */
export interface ApplyOptions {
  /** Only if the resource is at this revision (0: only if there is none); else `REVISION_CONFLICT`. */
  readonly ifRevision?: Revision;
  /** The resource vanishes with this lease. Default: keeps the lease it has. */
  readonly leaseId?: string;
  /** Validate and answer what would be, without writing. */
  readonly dryRun?: boolean;
}

/** Where `Resources` takes its time, chance and namespace from. */
export interface ResourcesOptions {
  /** Default `systemClock`. */
  readonly clock?: Clock;
  /** Default `systemRandom`. */
  readonly random?: Random;
  /** Default `default`. */
  readonly namespace?: string;
}
