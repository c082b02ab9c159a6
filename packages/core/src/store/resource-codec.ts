// How a resource is kept in a state store: its key, and its JSON without the revision.

import type { Key, KeyValue } from '../contracts/state-store.ts';
import { HeptadError } from '../errors.ts';
import { RESOURCE_SCHEMAS, type ResourceKind, type ResourceOf } from '../resources/index.ts';

/** Key prefix of all resources of a kind in a namespace. */
export function resourcePrefix(kind: ResourceKind, namespace: string): Key {
  return `/resources/${kind}/${namespace}/`;
}

/** Key of one resource: `/resources/<kind>/<namespace>/<name>`. */
export function resourceKey(kind: ResourceKind, namespace: string, name: string): Key {
  return `${resourcePrefix(kind, namespace)}${name}`;
}

/**
 * Checks a whole resource against its schema, filling in defaults.
 *
 * Errors: `INVALID_RESOURCE`; the message and `details.issues` have every problem with its path.
 *
 * @param doing what it is checked for, for the message: `create Service default/web`
 */
export function parseResource<K extends ResourceKind>(kind: K, value: unknown, doing: string): ResourceOf<K> {
  const parsed = RESOURCE_SCHEMAS[kind].safeParse(value);
  // The schema of `kind` was chosen by `kind`; TypeScript cannot follow that through the table.
  if (parsed.success) return parsed.data as ResourceOf<K>;
  const issues = parsed.error.issues.map((issue) => ({
    path: issue.path.map(String).join('.'),
    message: issue.message,
  }));
  const list = issues.map(({ path, message }) => `${path === '' ? '(all)' : path}: ${message}`).join('; ');
  throw new HeptadError('INVALID_RESOURCE', `cannot ${doing}: ${list}`, {
    details: { kind, issues },
    hint: 'correct the fields named',
  });
}

/** The stored text of a resource. The revision is left out: it is the key's. */
export function encodeResource(resource: ResourceOf<ResourceKind>): string {
  const { revision: _, ...stored } = resource;
  return JSON.stringify(stored);
}

/** The resource a key holds. `INVALID_RESOURCE` naming the key when somebody else wrote there. */
export function decodeResource<K extends ResourceKind>(kind: K, kv: KeyValue): ResourceOf<K> {
  return parseResource(kind, { ...parseJson(kv), revision: kv.modRevision }, `read key ${kv.key}`);
}

/** As {@link decodeResource}, but `undefined` when it is not one: for what is already deleted. */
export function decodeResourceIfValid<K extends ResourceKind>(
  kind: K,
  kv: KeyValue,
): ResourceOf<K> | undefined {
  try {
    return decodeResource(kind, kv);
  } catch {
    return undefined;
  }
}

function parseJson(kv: KeyValue): object {
  let value: unknown;
  try {
    value = JSON.parse(kv.value);
  } catch (cause) {
    throw new HeptadError('INVALID_RESOURCE', `cannot read key ${kv.key}: its value is not JSON`, { cause });
  }
  if (typeof value === 'object' && value !== null) return value;
  throw new HeptadError('INVALID_RESOURCE', `cannot read key ${kv.key}: its value is not an object`);
}
