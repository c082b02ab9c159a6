// /services and /plan: what should run.

import { isDeepStrictEqual } from 'node:util';
import {
  HeptadError,
  networkPolicySpec,
  resourceName,
  type ServiceResource,
  serviceSpec,
  trafficRuleSpec,
} from '@heptad/core';
import { z } from 'zod';
import type { App } from '../app.ts';
import { ifRevisionOf, setEtag } from '../etag.ts';
import { page, pageQuery } from '../paging.ts';
import type { ServerParts } from '../parts.ts';
import { redactService, restoreSecrets } from '../redact.ts';
import { SYSTEM_LABEL } from '../system-service.ts';

const nameParams = z.object({ name: resourceName });
const serviceBody = z.object({ spec: serviceSpec, labels: z.record(z.string(), z.string()).default({}) });
const manifest = z.object({
  project: z.string(),
  services: z.array(serviceBody.extend({ name: resourceName })),
  policies: z.array(z.object({ name: resourceName, spec: networkPolicySpec })).default([]),
  routes: z.array(z.object({ name: resourceName, spec: trafficRuleSpec })).default([]),
});

/** Adds the routes. */
export function serviceRoutes(app: App, parts: ServerParts): void {
  const { Service, NetworkPolicy, TrafficRule } = parts.resources;
  /** Without its own service containers could not reach the platform any more. */
  const refuseSystem = async (name: string): Promise<void> => {
    if ((await Service.find(name))?.labels[SYSTEM_LABEL] === undefined) return;
    throw new HeptadError('FORBIDDEN', `service "${name}" belongs to the platform and is not changed`, {
      hint: 'choose another name for yours',
    });
  };
  const shown = (service: ServiceResource): ServiceResource => redactService(parts.redactor, service);
  const read = { config: { access: { resource: 'services', action: 'read' } } } as const;
  const write = { config: { access: { resource: 'services', action: 'write' } } } as const;

  app.get('/api/v1/services', { ...read, schema: { querystring: pageQuery } }, async (request) => {
    const { items } = await Service.list();
    return page(items.map(shown), request.query);
  });
  app.get('/api/v1/services/:name', { ...read, schema: { params: nameParams } }, async (request, reply) => {
    const service = await Service.get(request.params.name);
    setEtag(reply, service);
    return shown(service);
  });
  app.get('/api/v1/services/:name/explain', { ...read, schema: { params: nameParams } }, async (request) => ({
    sentences: await parts.orchestrator.explain(request.params.name),
  }));
  app.get('/api/v1/services/:name/history', { ...read, schema: { params: nameParams } }, async (request) => ({
    // Environment and files of old specs may hold secrets: history shows what tells versions apart.
    items: (await parts.orchestrator.history(request.params.name)).map(({ spec, ...record }) => ({
      ...record,
      version: spec.version,
      image: spec.image,
    })),
  }));
  app.put(
    '/api/v1/services/:name',
    { ...write, schema: { params: nameParams, body: serviceBody } },
    async (request, reply) => {
      const { name } = request.params;
      const { labels } = request.body;
      await refuseSystem(name);
      const spec = restoreSecrets(parts.redactor, request.body.spec, (await Service.find(name))?.spec);
      const service = await parts.orchestrator.deploy(name, spec, { labels, ...ifRevisionOf(request) });
      setEtag(reply, service);
      return shown(service);
    },
  );
  app.delete(
    '/api/v1/services/:name',
    { ...write, schema: { params: nameParams } },
    async (request, reply) => {
      const { name } = request.params;
      const { ifRevision } = ifRevisionOf(request);
      await refuseSystem(name);
      // The same removal as the orchestrator's, with the revision as its condition.
      if (ifRevision === undefined) await parts.orchestrator.remove(name);
      else await Service.remove(name, { ifRevision });
      return reply.status(202).send({ message: `service ${request.params.name} is being removed` });
    },
  );
  app.post(
    '/api/v1/services/:name/scale',
    {
      ...write,
      schema: { params: nameParams, body: z.object({ replicas: z.number().int().min(0).max(10_000) }) },
    },
    async (request) => {
      await refuseSystem(request.params.name);
      return shown(await parts.orchestrator.scale(request.params.name, request.body.replicas));
    },
  );
  app.post(
    '/api/v1/services/:name/rollback',
    { ...write, schema: { params: nameParams } },
    async (request) => {
      await refuseSystem(request.params.name);
      return shown(await parts.orchestrator.rollback(request.params.name));
    },
  );
  for (const verb of ['pause', 'resume'] as const) {
    app.post(
      `/api/v1/services/:name/${verb}`,
      { ...write, schema: { params: nameParams } },
      async (request) => shown(await parts.orchestrator[verb](request.params.name)),
    );
  }
  app.post('/api/v1/plan', { ...read, schema: { body: manifest } }, async (request) => {
    const changes: { object: string; change: 'create' | 'update' | 'none'; because: string }[] = [];
    const compare = async (
      object: string,
      spec: unknown,
      find: () => Promise<{ spec: unknown } | undefined>,
    ): Promise<void> => {
      const current = await find();
      if (current === undefined) changes.push({ object, change: 'create', because: 'there is none yet' });
      else {
        const differences = differencesOf(current.spec, spec);
        changes.push(
          differences.length === 0
            ? { object, change: 'none', because: 'as wanted' }
            : { object, change: 'update', because: differences.join('; ') },
        );
      }
    };
    for (const { name, spec } of request.body.policies)
      await compare(`NetworkPolicy/${name}`, spec, () => NetworkPolicy.find(name));
    for (const { name, spec } of request.body.routes)
      await compare(`TrafficRule/${name}`, spec, () => TrafficRule.find(name));
    for (const { name, spec } of request.body.services) {
      const current = await Service.find(name);
      const wanted = restoreSecrets(parts.redactor, spec, current?.spec);
      await compare(`Service/${name}`, wanted, async () => current);
    }
    return { changes };
  });
}

const MAX_DIFFERENCES = 20;

/** Where two JSON values differ, as `path: before -> after`. */
export function differencesOf(before: unknown, after: unknown, path = ''): string[] {
  if (isDeepStrictEqual(before, after)) return [];
  if (isPlainObject(before) && isPlainObject(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return keys
      .flatMap((key) => differencesOf(before[key], after[key], path === '' ? key : `${path}.${key}`))
      .slice(0, MAX_DIFFERENCES);
  }
  return [`${path}: ${show(before, path)} -> ${show(after, path)}`];
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Values of environment variables and files may be secret: a plan says that they differ, not how. */
function show(value: unknown, path: string): string {
  if (value === undefined) return '(none)';
  return /^(environment|files)\b/.test(path) ? '***' : JSON.stringify(value);
}
