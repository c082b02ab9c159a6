// /healthz, /readyz, /metrics, /openapi.json and the console.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fastifyStatic from '@fastify/static';
import type { App } from '../app.ts';
import type { ServerParts } from '../parts.ts';

/** The built console: beside the built platform when installed, in its own folder in a checkout. */
function consoleDirectory(): string | undefined {
  const candidates = [
    '../console',
    '../../console/dist',
    '../../../console/dist',
    '../../../../console/dist',
  ];
  return candidates
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find((path) => existsSync(`${path}/index.html`));
}

/** Adds the routes. */
export async function systemRoutes(app: App, parts: ServerParts): Promise<void> {
  const open = { config: { access: 'public' as const }, schema: { hide: true } };
  app.get('/healthz', open, async () => ({ ok: true, role: 'primary' }));
  app.get('/readyz', open, async () => {
    // Ready means: the state store answers. Everything else is built on it.
    const { revision } = await parts.store.range({ key: '/readyz' });
    return { ok: true, revision };
  });
  app.get(
    '/metrics',
    { config: { access: { resource: 'monitoring', action: 'read' } }, schema: { hide: true } },
    async (_request, reply) =>
      reply.type('text/plain; version=0.0.4; charset=utf-8').send(await parts.monitoring.prometheusText()),
  );
  app.get('/openapi.json', open, async () => app.swagger());
  const root = consoleDirectory();
  if (root === undefined) {
    app.get('/', open, async (_request, reply) =>
      reply
        .type('text/plain')
        .send('The console is not built: pnpm build. The API is documented at /docs.\n'),
    );
    return;
  }
  await app.register(fastifyStatic, { root, serve: false });
  app.get('/', open, async (_request, reply) => reply.sendFile('index.html'));
  // Vite names assets by their content: they never change.
  app.get('/assets/*', open, async (request, reply) => {
    const { '*': path } = request.params as { '*': string };
    return reply.sendFile(`assets/${path}`, { immutable: true, maxAge: '1y' });
  });
}
