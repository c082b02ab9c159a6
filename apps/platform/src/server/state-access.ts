// Who may touch which keys of the state store over the API.

import { HeptadError, type Key, type Principal } from '@heptad/core';

/**
 * Nodes and administrators may use the whole store. A service may use its own keys: `/apps/NAME/...` and elections named
 * after it.
 */
export function mayUseKeys(principal: Principal, key: Key): boolean {
  if (principal.roles.includes('node') || principal.roles.includes('admin')) return true;
  const own = [`/apps/${principal.id}/`, `/elections/${principal.id}`, `/locks/${principal.id}`];
  return own.some((prefix) => key.startsWith(prefix));
}

/** Throws `FORBIDDEN` naming the key. */
export function requireKey(principal: Principal, key: Key): void {
  if (mayUseKeys(principal, key)) return;
  throw new HeptadError('FORBIDDEN', `"${principal.id}" may not use the key "${key}"`, {
    hint: `a service may use /apps/${principal.id}/… and elections and locks whose name begins with its own`,
  });
}
