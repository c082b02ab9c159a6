import type { ServiceResource } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { hasFailed, isReady } from './apply.ts';

type RolloutState = NonNullable<ServiceResource['status']['rollout']>['state'];

interface Situation {
  readonly generation?: number;
  readonly observed?: number;
  readonly wanted?: number;
  readonly ready?: number;
  readonly updated?: number;
  readonly state?: RolloutState;
}

function service(situation: Situation): ServiceResource {
  const { generation = 2, observed = 2, wanted = 2, ready = 2, updated = 2, state } = situation;
  const rollout = { state, message: '', progressedAt: 0, templateHash: '' };
  return {
    name: 'web',
    generation,
    spec: { replicas: wanted },
    status: {
      observedGeneration: observed,
      replicas: { total: 2, running: 2, failed: 0, pending: 0, ready, updated },
      conditions: [],
      ...(state === undefined ? {} : { rollout }),
    },
  } as unknown as ServiceResource;
}

describe('a service is ready', () => {
  it('when all replicas of its newest spec are', () => {
    expect(isReady(service({}))).toBe(true);
    expect(isReady(service({ state: 'idle' }))).toBe(true);
    expect(isReady(service({ wanted: 0, ready: 0, updated: 0 }))).toBe(true);
  });

  it.each<[string, Situation]>([
    ['the newest spec was not looked at yet', { generation: 3 }],
    ['too few are ready', { ready: 1 }],
    ['old ones still count', { updated: 1 }],
    ['the rollout goes on', { state: 'progressing' }],
  ])('not while %s', (_why, situation) => {
    expect(isReady(service(situation))).toBe(false);
  });
});

describe('a rollout has failed', () => {
  it('when the controller gave up', () => {
    expect(hasFailed(service({ state: 'failed' }), 2)).toBe(true);
    expect(hasFailed(service({ state: 'failed', generation: 3 }), 3)).toBe(false);
  });

  it('when the service went back to an earlier spec after it was asked for, although that one is ready', () => {
    const back = service({ generation: 3, observed: 3, state: 'rolled-back' });
    expect(isReady(back)).toBe(true);
    expect(hasFailed(back, 2)).toBe(true);
  });

  it('not when it had gone back before and that is what is wanted now', () => {
    expect(hasFailed(service({ generation: 3, observed: 3, state: 'rolled-back' }), 3)).toBe(false);
  });
});
