// compose.yaml is what the platform deploys: it must parse, and say what the shop relies on.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseCompose } from '@heptad/orchestrator';
import { describe, expect, it } from 'vitest';

const fileName = fileURLToPath(new URL('../compose.yaml', import.meta.url));

describe('compose.yaml', () => {
  it('deploys two catalogs, three orders and two webs, with policies and facilities', async () => {
    const project = await parseCompose(await readFile(fileName, 'utf8'), { fileName });
    const of = (name: string) => project.services.find((service) => service.name === name)?.spec;
    expect([of('catalog')?.replicas, of('orders')?.replicas, of('web')?.replicas]).toEqual([2, 3, 2]);
    expect(of('orders')?.facilities).toEqual(['storage', 'events', 'election']);
    expect(of('web')?.facilities).toEqual([]);
    expect(of('web')?.ports).toMatchObject([{ port: 8080, published: 8080 }]);
    expect(of('web')?.dependencies).toContainEqual({ service: 'orders', condition: 'healthy' });
    const callers = Object.fromEntries(
      project.policies.map(({ spec }) => [
        spec.selector.service,
        spec.ingress?.flatMap(({ peers }) => peers.map((peer) => peer.service)),
      ]),
    );
    expect(callers).toEqual({ catalog: ['web', 'orders'], orders: ['web'] });
  });
});
