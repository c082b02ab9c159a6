// Service specs checked at the edge: every problem at once, in words.

import { HeptadError, resourceName, type ServiceSpec, serviceSpec } from '@heptad/core';
import type { z } from 'zod';
import { parseConstraint } from '../schedule/constraints.ts';

/** What may be written as a service's spec: fields with defaults may be left out. */
export type ServiceSpecInput = z.input<typeof serviceSpec>;

/** One thing that is wrong with a spec. */
export interface SpecProblem {
  /** `healthCheck.http.port`; empty for the whole. */
  readonly path: string;
  readonly message: string;
}

/** A service that can never run. Code `INVALID_SERVICE`; `details.problems` has all that is wrong. */
export class InvalidService extends HeptadError<'INVALID_SERVICE'> {
  readonly problems: readonly SpecProblem[];

  constructor(name: string, problems: readonly SpecProblem[]) {
    const list = problems.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`));
    super('INVALID_SERVICE', `cannot deploy service "${name}": ${list.join('; ')}`, {
      hint: 'correct the fields named and deploy again',
      details: { service: name, problems },
    });
    this.problems = problems;
  }
}

/** Files travel inside the resource, and a resource must fit a state store's transaction several times. */
const MAXIMUM_FILES_BYTES = 256 * 1024;

/**
 * Checks a service and fills in defaults.
 *
 * @param options.allowZeroReplicas - 0 replicas keep name and address and run nothing; deploying that is nearly always
 * a slip, so it must be said. Default false.
 * @throws InvalidService with every problem: empty name, empty image, zero replicas, bad fields.
 */
export function validateService(
  name: string,
  input: ServiceSpecInput,
  options: { allowZeroReplicas?: boolean } = {},
): ServiceSpec {
  const problems: SpecProblem[] = [];
  const named = resourceName.safeParse(name);
  if (!named.success) {
    for (const issue of named.error.issues) problems.push({ path: 'name', message: issue.message });
  }
  const parsed = serviceSpec.safeParse(input);
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const path = issue.path.map(String).join('.');
      const emptyImage = path === 'image' && issue.code === 'too_small';
      problems.push({ path, message: emptyImage ? 'must not be empty' : issue.message });
    }
    throw new InvalidService(name, problems);
  }
  const spec = parsed.data;
  if (spec.image.trim() === '') problems.push({ path: 'image', message: 'must not be blank' });
  if (spec.replicas === 0 && options.allowZeroReplicas !== true) {
    problems.push({
      path: 'replicas',
      message: 'must be at least 1; scale a deployed service to 0 to stop it',
    });
  }
  problems.push(...semanticProblems(name, spec));
  if (problems.length > 0) throw new InvalidService(name, problems);
  return spec;
}

function semanticProblems(name: string, spec: ServiceSpec): SpecProblem[] {
  const problems: SpecProblem[] = [];
  const say = (path: string, message: string): void => void problems.push({ path, message });
  const names = new Set<string>();
  const published = new Set<string>();
  for (const [index, port] of spec.ports.entries()) {
    if (names.has(port.name)) say(`ports.${index}.name`, `"${port.name}" names two ports`);
    names.add(port.name);
    if (port.published === undefined) continue;
    const key = `${port.publishedAddress ?? '127.0.0.1'}:${port.published}/${port.protocol}`;
    if (published.has(key)) say(`ports.${index}.published`, `${key} is published twice`);
    published.add(key);
  }
  for (const [index, dependency] of spec.dependencies.entries()) {
    if (dependency.service === name) say(`dependencies.${index}`, 'a service cannot depend on itself');
  }
  for (const [index, constraint] of spec.constraints.entries()) {
    try {
      parseConstraint(constraint);
    } catch (error) {
      say(
        `constraints.${index}`,
        error instanceof HeptadError ? `${error.message}; ${error.hint}` : String(error),
      );
    }
  }
  const { requests, limits } = spec.resources;
  if (limits.cpuMillis !== undefined && requests.cpuMillis > limits.cpuMillis) {
    say(
      'resources',
      `requests ${requests.cpuMillis} millicores of CPU but is limited to ${limits.cpuMillis}`,
    );
  }
  if (limits.memoryBytes !== undefined && requests.memoryBytes > limits.memoryBytes) {
    say(
      'resources',
      `requests ${requests.memoryBytes} bytes of memory but is limited to ${limits.memoryBytes}`,
    );
  }
  const bytes = spec.files.reduce((sum, file) => sum + Buffer.byteLength(file.content), 0);
  if (bytes > MAXIMUM_FILES_BYTES) {
    say('files', `configs and secrets have ${bytes} bytes, ${MAXIMUM_FILES_BYTES} are allowed; use a volume`);
  }
  for (const secret of spec.secretEnvironment) {
    if (!(secret in spec.environment)) say('secretEnvironment', `"${secret}" is not in environment`);
  }
  return problems;
}
