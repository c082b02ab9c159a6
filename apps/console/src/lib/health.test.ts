import { describe, expect, it } from 'vitest';
import { fixture } from '../../test/fixture.ts';
import type { AlertResource, NodeResource, ServiceResource, StorageSummary } from '../api/types.ts';
import { type Known, serviceHealth, verdict } from './health.ts';

function known(mood: 'good' | 'bad' | 'empty'): Required<Known> {
  const all = fixture(mood, 1_000_000);
  // The fixture answers as the API does: untyped; these are its own shapes.
  const items = <T>(path: string): T[] => (all[path] as { items: T[] }).items;
  return {
    nodes: items<NodeResource>('/api/v1/nodes'),
    services: items<ServiceResource>('/api/v1/services'),
    alerts: items<AlertResource>('/api/v1/alerts'),
    storage: all['/api/v1/storage'] as StorageSummary,
  };
}

describe('the verdict', () => {
  it('is healthy without reasons when all is well', () => {
    expect(verdict(known('good'))).toEqual({ health: 'healthy', reasons: [] });
  });

  it('is as bad as the worst, with every reason, the worst first', () => {
    expect(verdict(known('bad'))).toEqual({
      health: 'critical',
      reasons: [
        'orders has no ready replica',
        '1 node not ready: node-b',
        'catalog: 2 of 3 replicas ready',
        'alert failed-requests: more than one failed request a second',
        'storage: fewer copies than wanted',
      ],
    });
  });

  it('says nothing before anything is known, and that no node is there when none is', () => {
    expect(verdict({})).toEqual({ health: 'unknown', reasons: [] });
    expect(verdict(known('empty')).reasons).toEqual(['no node has joined yet']);
  });

  it('is critical when every node is lost', () => {
    const { nodes } = known('bad');
    expect(verdict({ nodes: nodes?.filter((node) => node.status.status !== 'Ready') }).health).toBe(
      'critical',
    );
  });

  it('takes a service that wants no replicas for healthy, and one nobody has looked at for unknown', () => {
    const service = known('good').services?.[0];
    if (service === undefined) throw new Error('the fixture has services');
    const none = { ...service.status.replicas, total: 0, running: 0, ready: 0 };
    expect(
      serviceHealth({
        ...service,
        spec: { ...service.spec, replicas: 0 },
        status: { ...service.status, replicas: none },
      }),
    ).toBe('healthy');
    expect(serviceHealth({ ...service, status: { ...service.status, observedGeneration: 0 } })).toBe(
      'unknown',
    );
  });

  it('does not cry wolf over a service that is on its way', () => {
    const service = known('good').services?.find(({ name }) => name === 'orders');
    if (service === undefined) throw new Error('the fixture has orders');
    const replicas = { ...service.status.replicas, running: 1, ready: 0, pending: 2 };
    const starting = { ...service, status: { ...service.status, replicas } };
    expect(verdict({ services: [starting] })).toEqual({
      health: 'degraded',
      reasons: ['orders is starting: 0 of 3 replicas ready'],
    });
    const failing = { ...starting, status: { ...starting.status, replicas: { ...replicas, failed: 1 } } };
    expect(verdict({ services: [failing] }).health).toBe('critical');
  });
});
