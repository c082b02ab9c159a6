// How Resources writes: a decision about what is stored, and the one compare-and-set that makes it true.

import type { Compare, Key, KeyValue, Op, Revision, Txn } from '../contracts/state-store.ts';
import { HeptadError } from '../errors.ts';
import type { ResourceKind, ResourceOf } from '../resources/index.ts';
import { encodeResource } from './resource-codec.ts';

/** Which resource. */
export interface ResourceAddress {
  readonly kind: ResourceKind;
  readonly namespace: string;
  readonly name: string;
}

/** A resource and the key-value it was read from. */
export interface Stored<K extends ResourceKind> {
  readonly kv: KeyValue;
  readonly resource: ResourceOf<K>;
}

/** What a writer decided: the resource to store, `delete`, or `keep` it as it is. */
export type Decision<K extends ResourceKind> =
  | { readonly put: ResourceOf<K>; readonly leaseId?: string | undefined }
  | 'delete'
  | 'keep';

/** `Service default/web`. */
export function labelOf({ kind, namespace, name }: ResourceAddress): string {
  return `${kind} ${namespace}/${name}`;
}

/** `NOT_FOUND`. */
export function notFoundError(address: ResourceAddress, doing: string): HeptadError {
  return new HeptadError('NOT_FOUND', `cannot ${doing} ${labelOf(address)}: there is none`, {
    details: { ...address },
  });
}

/** `REVISION_CONFLICT`. */
export function conflictError(
  address: ResourceAddress,
  doing: string,
  why: string,
  retryable: boolean,
): HeptadError {
  return new HeptadError('REVISION_CONFLICT', `cannot ${doing} ${labelOf(address)}: ${why}`, {
    hint: 'read it again and decide anew',
    retryable,
    details: { ...address },
  });
}

/** The transaction of a decision: it holds only if nobody wrote since the resource was read. */
export function writeOf<K extends ResourceKind>(
  key: Key,
  ifModRevision: Revision,
  decision: Exclude<Decision<K>, 'keep'>,
  requestId: string,
): Txn {
  const unchanged: Compare = { key, target: 'modRevision', is: '=', than: ifModRevision };
  const op: Op =
    decision === 'delete'
      ? { op: 'delete', key }
      : {
          op: 'put',
          key,
          value: encodeResource(decision.put),
          ...(decision.leaseId === undefined ? {} : { leaseId: decision.leaseId }),
        };
  return { compare: [unchanged], success: [op], requestId };
}

/** The resource a decision leaves, with the revision it has now. */
export function decided<K extends ResourceKind>(
  decision: Decision<K>,
  stored: Stored<K> | undefined,
): ResourceOf<K> {
  if (typeof decision === 'object') return decision.put;
  if (stored === undefined) throw new TypeError('a missing resource can be neither kept nor deleted');
  return stored.resource;
}
