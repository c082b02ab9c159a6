import { type ContainerResource, type ServiceSpec, serviceSpec } from '@heptad/core';
import { Redactor } from '@heptad/security';
import { describe, expect, it } from 'vitest';
import { redactContainer, redactService, restoreSecrets } from './redact.ts';

const redactor = new Redactor();

function specWith(more: Partial<ServiceSpec>): ServiceSpec {
  return serviceSpec.parse({
    image: 'orders:1',
    replicas: 1,
    resources: { requests: { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 }, limits: {} },
    ports: [],
    environment: {},
    dependencies: [],
    labels: {},
    volumes: [],
    ...more,
  });
}

const spec = specWith({
  environment: {
    LOG_LEVEL: 'info',
    DB_PASSWORD: 'hunter2-by-name',
    PIN: 'secret-by-list',
    DATABASE_URL: 'postgres://app:pear-in-url@db/orders',
  },
  secretEnvironment: ['PIN'],
  files: [
    { target: '/run/key', content: 'file-secret', secret: true },
    { target: '/etc/app.json', content: '{"a":1}', secret: false },
  ],
});
const SECRETS = ['hunter2-by-name', 'secret-by-list', 'pear-in-url', 'file-secret'];

describe('what people are shown', () => {
  it('holds no secret of a service, and everything else', () => {
    const shown = redactService(redactor, { name: 'orders', spec });
    for (const secret of SECRETS) expect(JSON.stringify(shown)).not.toContain(secret);
    expect(shown.spec.environment).toEqual({
      LOG_LEVEL: 'info',
      DB_PASSWORD: '***',
      PIN: '***',
      DATABASE_URL: 'postgres://app:***@db/orders',
    });
    expect(shown.spec.files[1]?.content).toBe('{"a":1}');
  });

  it("holds no secret of a container's template", () => {
    const container = { kind: 'Container', name: 'orders-1', spec: { service: 'orders', template: spec } };
    const shown = redactContainer(redactor, container as unknown as ContainerResource);
    for (const secret of SECRETS) expect(JSON.stringify(shown)).not.toContain(secret);
  });

  it('does not change what is stored', () => {
    redactService(redactor, { spec });
    expect(spec.environment.PIN).toBe('secret-by-list');
    expect(spec.files[0]?.content).toBe('file-secret');
  });
});

describe('what comes back', () => {
  const shown = redactService(redactor, { spec }).spec;

  it('keeps every secret when it is what was shown', () => {
    expect(restoreSecrets(redactor, shown, spec)).toEqual(spec);
  });

  it('replaces the secrets that were changed, and only those', () => {
    const changed = { ...shown, environment: { ...shown.environment, PIN: 'another' } };
    expect(restoreSecrets(redactor, changed, spec).environment).toEqual({
      ...spec.environment,
      PIN: 'another',
    });
  });

  it('cannot be used to uncover a secret', () => {
    const asked = {
      ...shown,
      secretEnvironment: [],
      files: shown.files.map((file) => ({ ...file, secret: false })),
    };
    const stored = restoreSecrets(redactor, asked, spec);
    const answer = JSON.stringify(redactService(redactor, { spec: stored }));
    for (const secret of SECRETS) expect(answer).not.toContain(secret);
    expect(stored.environment.PIN).toBe('secret-by-list');
  });

  it('is taken as it is for a service that is not there yet', () => {
    expect(restoreSecrets(redactor, shown, undefined)).toBe(shown);
  });
});
