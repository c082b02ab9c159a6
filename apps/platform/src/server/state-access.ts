// Who may touch which keys of the state store over the API.

import type { Decision, Principal } from '@heptad/core';
import type { StateAccess } from '@heptad/storage/state';

/** What a service may use: its own keys, and elections and locks that begin with its name. */
function ownPrefixes(service: string): string[] {
  return [`/apps/${service}/`, `/elections/${service}`, `/locks/${service}`];
}

/**
 * Nodes and administrators may use the whole store. A service may use leases and its own keys; a range that reaches
 * beyond them is denied whole.
 */
export function decideStateAccess(principal: Principal, access: StateAccess): Decision {
  const auditLevel = 'NONE';
  if (principal.roles.includes('node') || principal.roles.includes('admin')) {
    return { allowed: true, because: ['the platform itself'], auditLevel };
  }
  if (access.verb === 'compact') return { allowed: false, because: [], auditLevel: 'MEDIUM' };
  const own = ownPrefixes(principal.id);
  // A range up to an `end` key may leave the prefix it begins in, so only single keys and prefixes are allowed.
  const allowed = access.keys.every(
    (range) => range.end === undefined && own.some((prefix) => range.key.startsWith(prefix)),
  );
  return allowed
    ? { allowed, because: [`keys of service ${principal.id}`], auditLevel }
    : { allowed, because: [], auditLevel: 'MEDIUM' };
}
