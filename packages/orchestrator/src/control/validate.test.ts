import { describe, expect, it } from 'vitest';
import { diffSpecs } from './diff.ts';
import { InvalidService, type ServiceSpecInput, validateService } from './validate.ts';

const fine: ServiceSpecInput = {
  image: 'web:1',
  replicas: 1,
  resources: { requests: { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 }, limits: {} },
  ports: [],
  environment: { TOKEN: 'one' },
  secretEnvironment: ['TOKEN'],
  dependencies: [],
  labels: {},
  volumes: [],
};

function problemsOf(name: string, change: Partial<ServiceSpecInput>): string[] {
  try {
    validateService(name, { ...fine, ...change });
  } catch (error) {
    if (error instanceof InvalidService)
      return error.problems.map(({ path, message }) => `${path}: ${message}`);
    throw error;
  }
  return [];
}

describe('validateService', () => {
  it('fills in defaults', () => {
    expect(validateService('web', fine)).toMatchObject({ version: '1', stopGraceMs: 10_000 });
  });

  it.each([
    ['', {}, 'name: must not be empty'],
    ['web', { image: '' }, 'image: must not be empty'],
    ['web', { image: ' ' }, 'image: must not be blank'],
    ['web', { replicas: 0 }, 'replicas: must be at least 1'],
    ['web', { dependencies: [{ service: 'web' }] }, 'dependencies.0: a service cannot depend on itself'],
    ['web', { constraints: ['fast'] }, 'constraints.0: cannot read'],
    [
      'web',
      {
        ports: [
          { name: 'a', port: 1 },
          { name: 'a', port: 2 },
        ],
      },
      'ports.1.name: "a" names two ports',
    ],
    ['web', { secretEnvironment: ['NOPE'] }, 'secretEnvironment: "NOPE" is not in environment'],
  ] satisfies [string, Partial<ServiceSpecInput>, string][])('refuses %j %j', (name, change, message) => {
    expect(problemsOf(name, change).join('\n')).toContain(message);
  });

  it('refuses more requested than allowed', () => {
    const requests = { ...fine.resources.requests, cpuMillis: 2_000 };
    expect(problemsOf('web', { resources: { requests, limits: { cpuMillis: 1_000 } } })).toEqual([
      'resources: requests 2000 millicores of CPU but is limited to 1000',
    ]);
  });

  it('finds all problems at once', () => {
    expect(problemsOf('Web!', { replicas: 0, constraints: ['x'] })).toHaveLength(3);
  });

  it('lets zero replicas pass when they are meant', () => {
    expect(validateService('web', { ...fine, replicas: 0 }, { allowZeroReplicas: true }).replicas).toBe(0);
  });
});

describe('diffSpecs', () => {
  it('names what changed and never shows a secret', () => {
    const from = validateService('web', fine);
    const to = validateService('web', {
      ...fine,
      image: 'web:2',
      environment: { TOKEN: 'two', LOG: 'debug' },
    });
    const differences = diffSpecs(from, to);
    expect(differences.map((one) => one.path).sort()).toEqual([
      'environment.LOG',
      'environment.TOKEN',
      'image',
    ]);
    expect(JSON.stringify(differences)).not.toMatch(/one|two/);
  });

  it('finds nothing between equals', () => {
    expect(diffSpecs(validateService('web', fine), validateService('web', fine))).toEqual([]);
  });
});
