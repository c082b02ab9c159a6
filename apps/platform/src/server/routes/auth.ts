// /auth, /users, /roles, /keys, /audit: who may do what, and what was done.

import { HeptadError, invalidArgument, type Principal } from '@heptad/core';
import { generatePassword } from '@heptad/security';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { App } from '../app.ts';
import { page, pageBy, pageQuery } from '../paging.ts';
import type { ServerParts } from '../parts.ts';

const userName = z.string().min(1).max(64);
const keyParams = z.object({ name: z.string().min(1).max(128) });
/** Newest first; the cursor is the number of the last record seen. */
const auditQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z.coerce.number().int().min(0).optional(),
});
/** Of people, and of the programs that a token may stand for. */
const KNOWN_ROLES = ['admin', 'operator', 'viewer', 'service', 'node'] as const;
const tokenBody = z.object({
  /** What it is for. */
  name: z.string().min(1).max(200),
  roles: z.array(z.enum(KNOWN_ROLES)).min(1).max(8),
  scopes: z.array(z.string()).max(64).optional(),
  /** Only with role `service`: the service it speaks for. */
  service: z.string().optional(),
  ttlMs: z.number().int().min(1_000).optional(),
});

function principalOf(request: FastifyRequest): Principal {
  if (request.principal === undefined)
    throw new HeptadError('UNAUTHENTICATED', 'this request has no principal');
  return request.principal;
}

/** Adds the routes. */
export function authRoutes(app: App, parts: ServerParts): void {
  const { security } = parts;
  const read = { config: { access: { resource: 'security', action: 'read' } } } as const;
  const write = { config: { access: { resource: 'security', action: 'write' } } } as const;

  app.post(
    '/api/v1/auth/login',
    {
      config: { access: 'public' },
      schema: { body: z.object({ username: userName, password: z.string().min(1).max(1024) }) },
    },
    async (request) => {
      const { username, password } = request.body;
      const { tokens } = await security.authenticate({ username, password, client: request.ip });
      return tokens;
    },
  );
  app.post(
    '/api/v1/auth/refresh',
    {
      config: { access: 'public' },
      schema: { body: z.object({ refreshToken: z.string().min(1).max(512) }) },
    },
    async (request) => security.tokens.refresh(request.body.refreshToken),
  );
  app.get(
    '/api/v1/auth/self',
    { config: { access: { resource: 'security/self', action: 'read' } } },
    async (request) => {
      const { id, type, roles } = principalOf(request);
      return { id, type, roles };
    },
  );
  app.post(
    '/api/v1/auth/logout',
    { config: { access: { resource: 'security/self', action: 'read' } } },
    async (request, reply) => {
      const token = request.headers.authorization?.slice('Bearer '.length) ?? '';
      const { kind, credentialId, principal } = await security.tokens.verify(token);
      // Only a login has a session to end; an API token is revoked by whoever made it.
      if (kind === 'session') await security.tokens.endSession(principal.id, credentialId);
      return reply.status(204).send();
    },
  );
  app.get('/api/v1/auth/token', { ...read, schema: { querystring: pageQuery } }, async (request) =>
    pageBy(await security.tokens.listApiTokens(), ({ id }) => id, request.query),
  );
  app.post('/api/v1/auth/token', { ...write, schema: { body: tokenBody } }, async (request) => {
    const { name, roles, scopes, service, ttlMs } = request.body;
    const type = roles.includes('node') ? 'node' : roles.includes('service') ? 'service' : 'user';
    if (type === 'service' && service === undefined)
      throw invalidArgument('a token with role "service" needs the service it speaks for', 'give "service"');
    // A person's token never outgrows the person: it speaks for the user who made it.
    const id = type === 'user' ? principalOf(request).id : (service ?? name);
    const { token, info } = await security.tokens.createApiToken({
      principal: { id, type, roles },
      description: name,
      ...(scopes === undefined ? {} : { scopes }),
      ...(ttlMs === undefined ? {} : { ttlMs }),
    });
    return { token, id: info.id };
  });
  app.delete(
    '/api/v1/auth/token/:id',
    { ...write, schema: { params: z.object({ id: z.string() }) } },
    async (request, reply) => {
      await security.tokens.revokeApiToken(request.params.id);
      return reply.status(204).send();
    },
  );

  app.get('/api/v1/users', { ...read, schema: { querystring: pageQuery } }, async (request) =>
    page(await security.users.list(), request.query),
  );
  app.post(
    '/api/v1/users',
    { ...write, schema: { body: z.object({ name: userName, roles: z.array(z.string()).min(1) }) } },
    async (request, reply) => {
      const password = generatePassword();
      const user = await security.users.create({ ...request.body, password });
      return reply.status(201).send({ name: user.name, roles: user.roles, password });
    },
  );
  app.delete(
    '/api/v1/users/:name',
    { ...write, schema: { params: z.object({ name: userName }) } },
    async (request, reply) => {
      await security.users.remove(request.params.name);
      return reply.status(204).send();
    },
  );
  app.post(
    '/api/v1/users/:name/password',
    { ...write, schema: { params: z.object({ name: userName }) } },
    async (request) => ({ password: await security.users.resetPassword(request.params.name) }),
  );
  app.get('/api/v1/roles', read, async () => ({ items: security.access.rules }));

  app.get('/api/v1/keys', { ...read, schema: { querystring: pageQuery } }, async (request) =>
    page(await Promise.all(security.keys.list().map((name) => security.keys.describe(name))), request.query),
  );
  app.post('/api/v1/keys', { ...write, schema: { body: keyParams } }, async (request, reply) =>
    reply.status(201).send(await security.generateEncryptionKey(request.body.name)),
  );
  app.post('/api/v1/keys/:name/rotate', { ...write, schema: { params: keyParams } }, async (request) => ({
    version: await security.keys.rotate(request.params.name),
  }));

  app.get(
    '/api/v1/audit',
    {
      config: { access: { resource: 'audit', action: 'read' } },
      schema: { querystring: auditQuery },
    },
    async (request) => {
      const { limit, cursor } = request.query;
      const { records, nextCursor } = await security.auditLogs({
        limit,
        ...(cursor === undefined ? {} : { before: cursor }),
      });
      return nextCursor === undefined
        ? { items: records }
        : { items: records, nextCursor: String(nextCursor) };
    },
  );
  app.get(
    '/api/v1/audit/verify',
    { config: { access: { resource: 'audit', action: 'execute' } } },
    async () => {
      const verification = await security.verifyAuditLog();
      const { intact, records, signedThrough, findings } = verification;
      const message = intact
        ? `the audit log is intact: ${records} records, signed through ${signedThrough}`
        : `the audit log was tampered with: ${findings.map((finding) => finding.message).join('; ')}`;
      return { ...verification, message };
    },
  );
}
