// Reading what the orchestrator keeps beside resources: rollout records and address claims; and whole states at once.

import {
  decodeResource,
  HeptadError,
  type KeyValue,
  type ResourceKind,
  type ResourceOf,
  resourcePrefix,
  type StateStore,
  serviceSpec,
} from '@heptad/core';
import { z } from 'zod';
import type { AddressClaim, ClusterState, RevisionRecord } from '../plan/state.ts';
import { readPrefix } from './prefix-cache.ts';

const revisionSchema = z.strictObject({
  number: z.number().int().positive(),
  templateHash: z.string(),
  spec: serviceSpec,
  at: z.number(),
  outcome: z.enum(['progressing', 'good', 'failed']),
});
const addressSchema = z.strictObject({ namespace: z.string(), service: z.string() });

function parse<T>(schema: z.ZodType<T>, kv: KeyValue): T {
  let value: unknown;
  try {
    value = JSON.parse(kv.value);
  } catch (cause) {
    throw new HeptadError('INVALID_RESOURCE', `cannot read key ${kv.key}: its value is not JSON`, { cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new HeptadError('INVALID_RESOURCE', `cannot read key ${kv.key}: ${z.prettifyError(parsed.error)}`);
}

/** The rollout record a key holds, and the service it is of. */
export function decodeRevision(kv: KeyValue, namespace: string): { service: string; record: RevisionRecord } {
  const [service = ''] = kv.key.slice(`/rollouts/${namespace}/`.length).split('/');
  return { service, record: { ...parse(revisionSchema, kv), revision: kv.modRevision } };
}

/** The address claim a key holds. */
export function decodeAddress(kv: KeyValue): AddressClaim {
  const address = kv.key.slice('/addresses/'.length);
  return { address, ...parse(addressSchema, kv), revision: kv.modRevision };
}

async function readKind<K extends ResourceKind>(
  store: StateStore,
  kind: K,
  namespace: string,
): Promise<Map<string, ResourceOf<K>>> {
  const prefix = resourcePrefix(kind, namespace);
  const { kvs } = await readPrefix(store, prefix);
  return new Map(kvs.map((kv) => [kv.key.slice(prefix.length), decodeResource(kind, kv)]));
}

/** The rollout records of all services of a namespace, or of one. */
export async function readRevisions(
  store: StateStore,
  namespace: string,
  service?: string,
): Promise<Map<string, RevisionRecord[]>> {
  const prefix = service === undefined ? `/rollouts/${namespace}/` : `/rollouts/${namespace}/${service}/`;
  const revisions = new Map<string, RevisionRecord[]>();
  for (const kv of (await readPrefix(store, prefix)).kvs) {
    const { service: owner, record } = decodeRevision(kv, namespace);
    revisions.set(owner, [...(revisions.get(owner) ?? []), record]);
  }
  return revisions;
}

/**
 * Reads the whole state, for dry runs and explanations. Not of one revision: what is decided on it is shown, never
 * executed. Every node counts as just heard of.
 */
export async function readClusterState(
  store: StateStore,
  namespace: string,
  now: number,
): Promise<ClusterState> {
  const [nodes, services, containers, endpoints, revisions, claims] = await Promise.all([
    readKind(store, 'Node', namespace),
    readKind(store, 'Service', namespace),
    readKind(store, 'Container', namespace),
    readKind(store, 'Endpoint', namespace),
    readRevisions(store, namespace),
    readPrefix(store, '/addresses/'),
  ]);
  return {
    namespace,
    nodes,
    services,
    containers,
    endpoints,
    revisions,
    addresses: new Map(claims.kvs.map((kv) => [kv.key.slice('/addresses/'.length), decodeAddress(kv)])),
    heartbeats: new Map([...nodes.keys()].map((name) => [name, now])),
  };
}
