// What changes between two specs, member by member, with secrets masked.

import type { ServiceSpec } from '@heptad/core';
import { canonicalJson } from '../plan/identity.ts';

/** One member that differs. A missing side means that it is not there. */
export interface SpecDifference {
  /** `environment.LOG_LEVEL`, `ports.0.published`. */
  readonly path: string;
  readonly from?: unknown;
  readonly to?: unknown;
}

const MASK = '***';

/** A copy without secret values; two different secrets still look different to {@link diffSpecs}. */
function masked(spec: ServiceSpec): ServiceSpec {
  const secrets = new Set(spec.secretEnvironment);
  return {
    ...spec,
    environment: Object.fromEntries(
      Object.entries(spec.environment).map(([name, value]) => [name, secrets.has(name) ? MASK : value]),
    ),
    files: spec.files.map((file) => (file.secret ? { ...file, content: MASK } : file)),
  };
}

/**
 * Compares two specs. Values of secret variables and files never appear, only that they changed.
 *
 * @example
 * ```ts
 * import { diffSpecs, validateService } from '@heptad/orchestrator';
 *
 * const spec = validateService('web', {
 *   image: 'web:1', replicas: 1, ports: [], environment: {}, dependencies: [], labels: {}, volumes: [],
 *   resources: { requests: { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 }, limits: {} },
 * });
 * const [first] = diffSpecs(spec, { ...spec, image: 'web:2' });
 * if (first?.path !== 'image' || first.to !== 'web:2') throw new Error('unexpected');
 * ```
 */
export function diffSpecs(from: ServiceSpec, to: ServiceSpec): SpecDifference[] {
  const shown: SpecDifference[] = [];
  compare('', masked(from), masked(to), shown);
  const names = new Set([...from.secretEnvironment, ...to.secretEnvironment]);
  for (const name of names) {
    const both = name in from.environment && name in to.environment;
    const path = `environment.${name}`;
    if (!both || from.environment[name] === to.environment[name]) continue;
    if (!shown.some((difference) => difference.path === path)) {
      shown.push({ path, from: MASK, to: `${MASK} (changed)` });
    }
  }
  for (const file of to.files) {
    const before = from.files.find((other) => other.target === file.target);
    if (!file.secret || before === undefined || before.content === file.content) continue;
    shown.push({ path: `files.${file.target}`, from: MASK, to: `${MASK} (changed)` });
  }
  return shown;
}

function isTree(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function compare(path: string, from: unknown, to: unknown, into: SpecDifference[]): void {
  if (canonicalJson(from) === canonicalJson(to)) return;
  if (isTree(from) && isTree(to) && Array.isArray(from) === Array.isArray(to)) {
    for (const key of [...new Set([...Object.keys(from), ...Object.keys(to)])]) {
      compare(path === '' ? key : `${path}.${key}`, from[key], to[key], into);
    }
    return;
  }
  into.push({
    path,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
  });
}
