// The access matrix of Heptad: resource x role x action, and how much of it the audit log keeps.

import type { Decision } from '@heptad/core';

/** What one may do to a resource. `execute`: run something (a command in a container, a failover, an experiment). */
export type AccessAction = 'read' | 'write' | 'execute';

/** One row. */
export interface AccessRule {
  /** Unique; appears in decisions and in the audit log. */
  readonly id: string;
  /** A resource and everything below it: `storage`, `security/self`. */
  readonly resource: string;
  /** A role, or `*` for everybody who is authenticated. */
  readonly role: string;
  readonly actions: readonly AccessAction[];
  readonly auditLevel: Decision['auditLevel'];
  /** Default `allow`. A matching `deny` wins over every `allow`. */
  readonly effect?: 'allow' | 'deny';
  /** Only for what belongs to the caller (`context.owner`). */
  readonly own?: boolean;
}

/** Roles that include others: an admin may do what an operator may, an operator what a viewer may. */
export const ROLE_INCLUDES: Readonly<Record<string, readonly string[]>> = {
  admin: ['operator'],
  operator: ['viewer'],
  viewer: [],
  /** A workload with a platform facility. Its credential's scopes narrow this to the facilities it asked for. */
  service: [],
  /** A node's agent, proxy and storage node. */
  node: [],
};

/** Names of the roles a person may be given. */
export const USER_ROLES: readonly string[] = ['admin', 'operator', 'viewer'];

function row(
  resource: string,
  role: string,
  actions: readonly AccessAction[],
  auditLevel: Decision['auditLevel'],
  more: Pick<AccessRule, 'own'> = {},
): AccessRule {
  const own = more.own === true ? '/own' : '';
  return {
    id: `${resource}/${role}/${actions.join('-')}${own}`,
    resource,
    role,
    actions,
    auditLevel,
    ...more,
  };
}

/**
 * Who may do what. Read a row as: "`role` may `actions` on `resource`; the audit log keeps it at `auditLevel`".
 *
 * | resource | admin | operator | viewer | service | node |
 * | --- | --- | --- | --- | --- | --- |
 * | config, security | read write | | | | |
 * | audit | read execute | | | | |
 * | logs | read | read | | | |
 * | monitoring, events | read | read | read | write (telemetry) | write |
 * | services, mesh, quota | read write | read write | read | | read |
 * | nodes | read write | read write | read | | read write |
 * | containers | read write execute | read write execute | read | | read write |
 * | storage | read write | read write | | read write | read write |
 * | dr, chaos | read write execute | read (chaos: execute) | read | | |
 * | topics, elections | read write | read write | | read write | read |
 * | state | read write | | | | read write |
 */
export const ACCESS_MATRIX: readonly AccessRule[] = [
  row('config', 'admin', ['read', 'write'], 'HIGH'),
  row('logs', 'operator', ['read'], 'MEDIUM'),
  row('monitoring', 'viewer', ['read'], 'LOW'),
  // A role's own telemetry; reading it stays with people.
  row('monitoring', 'service', ['write'], 'NONE'),
  row('monitoring', 'node', ['write'], 'NONE'),
  row('monitoring', 'operator', ['write'], 'MEDIUM'),
  row('events', 'viewer', ['read'], 'LOW'),
  row('events', 'node', ['read', 'write'], 'NONE'),

  row('services', 'viewer', ['read'], 'LOW'),
  row('services', 'operator', ['write'], 'HIGH'),
  row('services', 'node', ['read'], 'NONE'),
  row('nodes', 'viewer', ['read'], 'LOW'),
  row('nodes', 'operator', ['write'], 'HIGH'),
  row('nodes', 'node', ['read', 'write'], 'NONE'),
  row('containers', 'viewer', ['read'], 'LOW'),
  row('containers', 'operator', ['write'], 'HIGH'),
  // A shell in a container is as much as its secrets.
  row('containers', 'operator', ['execute'], 'HIGH'),
  row('containers', 'node', ['read', 'write'], 'NONE'),
  row('mesh', 'viewer', ['read'], 'LOW'),
  row('mesh', 'operator', ['write'], 'HIGH'),
  row('mesh', 'node', ['read', 'write'], 'NONE'),
  row('quota', 'viewer', ['read'], 'LOW'),
  row('quota', 'operator', ['write'], 'HIGH'),

  // Data is not for viewers: what users store may be personal.
  row('storage', 'operator', ['read', 'write'], 'MEDIUM'),
  row('storage', 'service', ['read', 'write'], 'NONE'),
  row('storage', 'node', ['read', 'write'], 'NONE'),
  row('storage-status', 'viewer', ['read'], 'LOW'),
  row('storage-status', 'operator', ['write', 'execute'], 'HIGH'),
  row('topics', 'operator', ['read', 'write'], 'MEDIUM'),
  row('topics', 'service', ['read', 'write'], 'NONE'),
  row('elections', 'operator', ['read', 'write'], 'MEDIUM'),
  row('elections', 'service', ['read', 'write'], 'NONE'),
  // The raw state store, for the processes of the platform itself.
  row('state', 'admin', ['read', 'write'], 'HIGH'),
  row('state', 'node', ['read', 'write'], 'NONE'),

  row('security', 'admin', ['read', 'write', 'execute'], 'HIGH'),
  // Everybody may see who they are, change their own password and end their own sessions.
  row('security/self', '*', ['read'], 'NONE'),
  row('security/self', '*', ['write'], 'HIGH', { own: true }),
  row('audit', 'admin', ['read', 'execute'], 'HIGH'),
  row('dr', 'viewer', ['read'], 'LOW'),
  row('dr', 'admin', ['write', 'execute'], 'HIGH'),
  row('chaos', 'viewer', ['read'], 'LOW'),
  row('chaos', 'operator', ['execute'], 'HIGH'),
  row('chaos', 'admin', ['write'], 'HIGH'),
];
