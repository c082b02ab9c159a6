// x-heptad: what Compose has no words for.

import {
  facility as facilitySchema,
  type NetworkPolicySpec,
  networkPolicySpec,
  type ServiceSpec,
  type TrafficRuleSpec,
  trafficRuleSpec,
} from '@heptad/core';
import { isMap, isScalar, isSeq } from 'yaml';
import type { z } from 'zod';
import type { Cursor } from './cursor.ts';
import { type DeployPart, readUpdate } from './deploy.ts';
import { readHealth } from './health.ts';

/** What a service's `x-heptad` says. */
export interface ServiceExtension {
  healthCheck?: ServiceSpec['healthCheck'];
  facilities?: ServiceSpec['facilities'];
  runtime?: ServiceSpec['runtime'];
  trafficMode?: ServiceSpec['trafficMode'];
  version?: string;
  secretEnvironment?: string[];
  networkPolicy?: Omit<NetworkPolicySpec, 'selector'>;
}

/** What can carry a service; `auto` is the node's best. */
export const RUNTIMES: readonly ServiceSpec['runtime'][] = ['auto', 'oci', 'process', 'docker', 'vm'];

const NETWORK = { min: 0, max: 1_000_000 };

/** Reads a service's `x-heptad`. */
export function readServiceExtension(cursor: Cursor, deploy: DeployPart): ServiceExtension {
  const extension: ServiceExtension = {};
  cursor.fields({
    health: (value) => {
      const health = readHealth(value);
      if (health !== undefined) extension.healthCheck = health;
    },
    facilities: (value) => {
      extension.facilities = value
        .items('a list of facilities')
        .flatMap((item) => item.choice(facilitySchema.options) ?? []);
    },
    runtime: (value) => {
      const runtime = value.choice(RUNTIMES);
      if (runtime !== undefined) extension.runtime = runtime;
    },
    traffic: (value) => {
      const mode = value.choice(['http', 'tcp']);
      if (mode !== undefined) extension.trafficMode = mode;
    },
    version: (value) => {
      const version = value.text('a version');
      if (version !== undefined) extension.version = version;
    },
    secretEnvironment: (value) => {
      extension.secretEnvironment = value.texts('a list of variables');
    },
    storage: (value) => {
      const bytes = value.bytes();
      if (bytes !== undefined) deploy.requests.storageBytes = bytes;
    },
    network: (value) => {
      const mbps = value.integer(NETWORK, 'a number of Mbit/s');
      if (mbps !== undefined) deploy.requests.networkMbps = mbps;
    },
    update: (value) => readUpdate(value, deploy),
    networkPolicy: (value) => {
      const policy = readBySchema(value, networkPolicySpec.omit({ selector: true }));
      if (policy !== undefined) extension.networkPolicy = policy;
    },
  });
  return extension;
}

/** What the document's `x-heptad` says. */
export interface ProjectExtension {
  policies: { name: string; spec: NetworkPolicySpec; at: Cursor }[];
  trafficRules: { name: string; spec: TrafficRuleSpec; at: Cursor }[];
}

/** Reads the document's `x-heptad`. */
export function readProjectExtension(cursor: Cursor): ProjectExtension {
  const extension: ProjectExtension = { policies: [], trafficRules: [] };
  cursor.fields({
    policies: (value) => {
      for (const { key, value: policy, at } of value.entries('a mapping: name to policy')) {
        const spec = readBySchema(policy, networkPolicySpec);
        if (spec !== undefined) extension.policies.push({ name: key, spec, at });
      }
    },
    trafficRules: (value) => {
      for (const { key, value: rule, at } of value.entries('a mapping: name to rule')) {
        const spec = readBySchema(rule, trafficRuleSpec);
        if (spec !== undefined) extension.trafficRules.push({ name: key, spec, at });
      }
    },
  });
  return extension;
}

/** Reads a part that is a resource's spec as it is, checked by its schema; problems point at the member meant. */
function readBySchema<Schema extends z.ZodType>(cursor: Cursor, schema: Schema): z.infer<Schema> | undefined {
  const before = cursor.reading.problems.length;
  const value = plain(cursor);
  if (cursor.reading.problems.length > before) return undefined;
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) {
    let at = cursor;
    for (const step of issue.path) {
      const next =
        typeof step === 'number' ? (at.isList ? at.items()[step] : undefined) : at.get(String(step));
      if (next === undefined) break;
      at = next;
    }
    at.problem(issue.message);
  }
  return undefined;
}

/** The plain value of a part, with variables replaced. */
function plain(cursor: Cursor): unknown {
  const { node } = cursor;
  if (isMap(node)) {
    return Object.fromEntries(cursor.entries().map(({ key, value }) => [key, plain(value)]));
  }
  if (isSeq(node)) return cursor.items().map(plain);
  if (isScalar(node) && typeof node.value === 'string') return cursor.text();
  return isScalar(node) ? node.value : undefined;
}
