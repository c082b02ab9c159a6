// Names, ids and hashes that planners need, derived from what they describe: a planner draws nothing by chance.

import { createHash } from 'node:crypto';
import type { ServiceSpec } from '@heptad/core';

/** Put on runtime containers and endpoints: the id of the Container resource they belong to. */
export const CONTAINER_LABEL = 'heptad.io/container';
/** Put on runtime containers: the node's name; an agent touches only its own. */
export const NODE_LABEL = 'heptad.io/node';
/** Put on runtime containers: the service's name. */
export const SERVICE_LABEL = 'heptad.io/service';
/** Held by a Container until its node's agent has removed everything of it. */
export const AGENT_FINALIZER = 'heptad.io/agent';
/** Held by a Service until no container, endpoint, address or revision of it is left. */
export const SERVICE_FINALIZER = 'heptad.io/orchestrator';

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** JSON with sorted keys: equal values give equal texts. Undefined members are left out. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
    return `{${members.join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}

/**
 * Hash of all in a spec that only a new process can take over. What is left out changes without replacing anybody:
 * the replica count, limits (applied live), update, restart and stop rules, dependencies (they order the first start),
 * and where ports are published (the proxy's affair).
 *
 * Environment, files and configs are in it, so a changed config rolls out by itself.
 */
export function templateHash(spec: ServiceSpec): string {
  const { replicas, update, restart, stopGraceMs, dependencies, trafficMode, resources, ports, ...rest } =
    spec;
  const template = {
    ...rest,
    requests: resources.requests,
    ports: ports.map(({ name, port, protocol }) => ({ name, port, protocol })),
  };
  return sha256(canonicalJson(template)).slice(0, 12);
}

/** The parts of a spec that a running container takes over live. See {@link templateHash}. */
export function liveParts(spec: ServiceSpec): Pick<ServiceSpec, 'resources' | 'restart' | 'stopGraceMs'> {
  return { resources: spec.resources, restart: spec.restart, stopGraceMs: spec.stopGraceMs };
}

/** 63 characters are allowed; the slot, six digits of hash and two hyphens must fit behind the service's name. */
const SERVICE_PART = 63 - 1 - 5 - 1 - 6;

/**
 * Name of the container that fills a slot next. Two controllers that see the same state choose the same name, so that
 * creating it by compare-and-set makes one container, not two; whoever filled the slot before makes it differ.
 */
export function containerName(
  service: { readonly name: string; readonly id: string },
  hash: string,
  slot: number,
  predecessors: readonly string[],
): string {
  const digest = sha256(JSON.stringify([service.id, hash, slot, [...predecessors].sort()])).slice(0, 6);
  return `${service.name.slice(0, SERVICE_PART).replace(/-+$/, '')}-${slot}-${digest}`;
}

/** A UUID version 7 (RFC 9562 §5.7) whose time is `now` and whose other bits come from `seed`. */
export function derivedUuid(now: number, seed: string): string {
  const time = Math.max(0, Math.trunc(now)).toString(16).padStart(12, '0').slice(-12);
  const bits = sha256(seed);
  const variant = ((Number.parseInt(bits.slice(3, 4), 16) & 0x3) | 0x8).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${bits.slice(0, 3)}-${variant}${bits.slice(4, 7)}-${bits.slice(7, 19)}`;
}

/** A whole number in [0, bound) from a text. */
export function hashIndex(text: string, bound: number): number {
  return Number.parseInt(sha256(text).slice(0, 12), 16) % bound;
}
