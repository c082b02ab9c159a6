import type { NodeResource } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { constraintMiss, parseConstraint } from './constraints.ts';

function nodeWith(runtime: { name: string; others?: string[] }): NodeResource {
  return {
    name: 'n1',
    labels: {},
    spec: { address: '10.0.0.1' },
    status: { runtime: { isolation: 'container', reasons: [], ...runtime } },
  } as unknown as NodeResource;
}

describe('node.runtime', () => {
  const vm = parseConstraint('node.runtime==vm');

  it('is what the node is made for and what it can do beside that', () => {
    expect(constraintMiss(vm, nodeWith({ name: 'vm' }))).toBeUndefined();
    expect(constraintMiss(vm, nodeWith({ name: 'oci', others: ['vm'] }))).toBeUndefined();
    expect(constraintMiss(vm, nodeWith({ name: 'oci' }))).toBe('has node.runtime=oci, wanted == vm');
    const notVm = parseConstraint('node.runtime!=vm');
    expect(constraintMiss(notVm, nodeWith({ name: 'oci', others: ['vm'] }))).toBe(
      'has node.runtime=oci,vm, wanted != vm',
    );
  });
});
