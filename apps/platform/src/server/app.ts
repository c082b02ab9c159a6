// The Fastify application: zod validation, problem details, access control on every route, OpenAPI.

import type { IncomingMessage, ServerResponse } from 'node:http';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import websocket from '@fastify/websocket';
import { HeptadError, type Principal } from '@heptad/core';
import { ERROR_CODE_HEADER, MAX_KEY_BYTES } from '@heptad/storage';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyRequest,
  LogController,
  type RawServerDefault,
} from 'fastify';
import {
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { toProblem, withPrecondition } from './problem.ts';

/** What a route needs: `public`, or the right to do `action` on `resource`, which may depend on who asks. */
export type RouteAccess = 'public' | ResourceAction | ((principal: Principal) => ResourceAction);

/** A right of the access matrix. */
export interface ResourceAction {
  readonly resource: string;
  readonly action: 'read' | 'write' | 'execute';
}

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: RouteAccess;
    /** The handler reads the body and writes the answer itself: no Idempotency-Key. */
    rawBody?: boolean;
  }
  interface FastifyRequest {
    /** Who asks; set by the access hook on every route that is not public. */
    principal: Principal | undefined;
  }
}

/** Our Fastify, with zod types. */
export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** Who may pass: authenticates the token, decides, limits and audits. */
export interface Gate {
  authenticate(token: string): Promise<Principal>;
  /** Throws `FORBIDDEN` or `RATE_LIMITED`; audits as the decision says. */
  admit(
    principal: Principal,
    access: { resource: string; action: string },
    request: { method: string; path: string; address: string },
  ): Promise<void>;
  /** Throws `RATE_LIMITED` for a client that is not known yet. */
  admitAnonymous(address: string): void;
}

const UNAUTHENTICATED = 401;
/** The largest JSON body; object uploads and OTLP have limits of their own. */
const BODY_LIMIT_BYTES = 4 * 1024 * 1024;

function bearerOf(request: FastifyRequest): string | undefined {
  const header = request.headers.authorization;
  if (header?.startsWith('Bearer ')) return header.slice(7);
  // A browser cannot set headers on a WebSocket: the token travels as a subprotocol.
  const protocols = request.headers['sec-websocket-protocol'];
  const offered = typeof protocols === 'string' ? protocols.split(',').map((text) => text.trim()) : [];
  const token = offered.find((text) => text.startsWith('bearer.'));
  return token?.slice('bearer.'.length);
}

/** Builds the application; routes are added by the caller. Every route must say its access, or it is refused at start. */
export async function buildApp(gate: Gate, logger: FastifyBaseLogger): Promise<App> {
  const fastify = Fastify({
    loggerInstance: logger,
    bodyLimit: BODY_LIMIT_BYTES,
    forceCloseConnections: true,
    // A URL that cannot be decoded reaches no route and no error handler.
    frameworkErrors: (error, _request, reply) => {
      const problem = toProblem(error);
      reply.hijack();
      reply.raw.writeHead(problem.status, { 'content-type': 'application/problem+json' });
      reply.raw.end(JSON.stringify(problem));
    },
    // The longest key of an object, every byte of it percent-encoded.
    routerOptions: { maxParamLength: 3 * MAX_KEY_BYTES },
    logController: new LogController({ disableRequestLogging: true }),
  });
  fastify.setValidatorCompiler(validatorCompiler);
  fastify.setSerializerCompiler(serializerCompiler);
  const app = fastify.withTypeProvider<ZodTypeProvider>();

  app.decorateRequest('principal', undefined);
  app.addHook('onRoute', (route) => {
    if (route.config?.access === undefined) {
      const inherited =
        route.url.startsWith('/docs') || route.method === 'HEAD' || route.method === 'OPTIONS';
      if (!inherited)
        throw new HeptadError(
          'ROUTE_WITHOUT_ACCESS',
          `route ${String(route.method)} ${route.url} does not say who may use it`,
        );
    }
  });
  app.addHook('onRequest', async (request) => {
    const access = request.routeOptions.config.access ?? 'public';
    if (access === 'public') {
      if (request.method === 'POST') gate.admitAnonymous(request.ip);
      return;
    }
    const token = bearerOf(request);
    if (token === undefined) {
      gate.admitAnonymous(request.ip);
      throw new HeptadError(
        'UNAUTHENTICATED',
        `${request.method} ${request.url.split('?')[0]} needs a token and the request has none`,
        {
          hint: 'send "Authorization: Bearer TOKEN"; POST /api/v1/auth/login gives one',
        },
      );
    }
    request.principal = await gate.authenticate(token).catch((error: unknown) => {
      // Whoever guesses tokens is as unknown as one who has none. That tokens cannot be looked up now is nobody's guess.
      if (toProblem(error).status === UNAUTHENTICATED) gate.admitAnonymous(request.ip);
      throw error;
    });
    await gate.admit(request.principal, typeof access === 'function' ? access(request.principal) : access, {
      method: request.method,
      path: request.url.split('?')[0] ?? '',
      address: request.ip,
    });
  });
  app.setErrorHandler((error, request, reply) => {
    const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = request.headers;
    const problem = withPrecondition(toProblem(error), (ifMatch ?? ifNoneMatch) !== undefined);
    // That another centre is primary is an answer, not a failure.
    if (problem.status >= 500 && problem.code !== 'NOT_PRIMARY')
      request.log.error({ err: error, method: request.method, url: request.url }, 'request failed');
    if (problem.code === 'RATE_LIMITED') {
      const retryAfterMs = Number(problem.details?.retryAfterMs ?? 1000);
      reply.header('retry-after', String(Math.ceil(retryAfterMs / 1000)));
    }
    reply.header(ERROR_CODE_HEADER, problem.code);
    return reply.status(problem.status).type('application/problem+json').send(JSON.stringify(problem));
  });
  app.setNotFoundHandler((request, reply) => {
    const problem = toProblem(
      new HeptadError('NOT_FOUND', `there is no ${request.method} ${request.url.split('?')[0]}`, {
        hint: 'GET /openapi.json lists what there is',
      }),
    );
    return reply.status(404).type('application/problem+json').send(JSON.stringify(problem));
  });
  await app.register(websocket);
  await app.register(swagger, {
    openapi: {
      info: { title: 'Heptad', version: '0.1.0', description: 'The API of a Heptad platform.' },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
      security: [{ bearer: [] }],
    },
    transform: jsonSchemaTransform,
  });
  await app.register(swaggerUi, { routePrefix: '/docs' });
  return app;
}
