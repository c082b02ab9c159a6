// Who may touch which keys of the state store over the API.

import type { Decision, KeyRange, Principal } from '@heptad/core';
import type { StateAccess } from '@heptad/storage/state';

/**
 * Whether `/elections/NAME` or `/locks/NAME` is the service's: named after it, alone or followed by `/` or `-`
 * (`orders`, `orders/eu`, `orders-master`), unless the name is that of another service or is named after one.
 */
function isOwnName(name: string, service: string, siblings: readonly string[]): boolean {
  const after = (owner: string): boolean =>
    name === owner || name.startsWith(`${owner}/`) || name.startsWith(`${owner}-`);
  return after(service) && !siblings.some(after);
}

function isOwnRange(
  range: KeyRange,
  verb: StateAccess['verb'],
  service: string,
  siblings: readonly string[],
): boolean {
  // A range up to an `end` key may leave what it begins in, so only single keys and prefixes are allowed.
  if (range.end !== undefined) return false;
  if (range.key.startsWith(`/apps/${service}/`)) return true;
  const match = /^\/(?:elections|locks)\/(.+)$/.exec(range.key);
  if (match?.[1] === undefined) return false;
  // Who waits for an election watches its key as a prefix: it may see longer names, but never write them.
  if (range.prefix === true && verb !== 'read' && !range.key.endsWith('/')) return false;
  return isOwnName(match[1], service, siblings);
}

/**
 * Nodes and administrators may use the whole store. A service may use leases, its own keys, and the elections and locks
 * named after it; a request that reaches beyond them is denied whole. `siblings`: the services whose names begin with
 * this one's and a hyphen.
 */
export function decideStateAccess(
  principal: Principal,
  access: StateAccess,
  siblings: readonly string[] = [],
): Decision {
  const auditLevel = 'NONE';
  if (principal.roles.includes('node') || principal.roles.includes('admin')) {
    return { allowed: true, because: ['the platform itself'], auditLevel };
  }
  if (access.verb === 'compact') return { allowed: false, because: [], auditLevel: 'MEDIUM' };
  const allowed = access.keys.every((range) => isOwnRange(range, access.verb, principal.id, siblings));
  return allowed
    ? { allowed, because: [`keys of service ${principal.id}`], auditLevel }
    : { allowed, because: [], auditLevel: 'MEDIUM' };
}
