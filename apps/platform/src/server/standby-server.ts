// The API server of a centre that is not primary: tells how the centres are, moves the primary, and sends everybody else there.

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HeptadError } from '@heptad/core';
import { RateLimiter } from '@heptad/security';
import type { Logger } from 'pino';
import type { PlatformCenter } from '../centers/platform-center.ts';
import { type PlatformConfig, platformPaths } from '../config.ts';
import { buildApp, type Gate } from './app.ts';
import { writeSecret } from './local-secrets.ts';
import type { Recovery } from './recovery.ts';
import { recoveryRoutes } from './routes/recovery.ts';

/** What it works with. */
export interface StandbyServerOptions {
  readonly config: PlatformConfig;
  readonly logger: Logger;
  readonly center: PlatformCenter;
  readonly recovery: Recovery;
  /** Why it does not serve although it was primary. */
  readonly problem: string | undefined;
}

const TOKEN_BYTES = 32;
/** Requests from one address: a standby answers few questions. */
const LIMIT = { limit: 600, periodMs: 60_000, burst: 100 };

/** Opens it; resolves once it listens. */
export async function openStandbyServer(options: StandbyServerOptions): Promise<AsyncDisposable> {
  const { config, logger, center, recovery, problem } = options;
  const app = await buildApp(await localGate(platformPaths(config.home).run), logger);
  const open = { config: { access: 'public' as const }, schema: { hide: true } };
  app.get('/healthz', open, async () => ({ ok: true, ...standingOf(center, problem) }));
  app.get('/readyz', open, async (_request, reply) =>
    reply.status(503).send({ ok: false, ...standingOf(center, problem) }),
  );
  app.get('/openapi.json', open, async () => app.swagger());
  app.get('/', open, async (_request, reply) => reply.type('text/plain').send(welcome(center, problem)));
  recoveryRoutes(app, recovery);
  app.all('/*', open, async () => {
    throw notPrimary(center, problem);
  });
  await app.listen({ host: config.host, port: config.port });
  logger.info({ address: `http://${config.host}:${config.port}` }, 'standby serves');
  return { [Symbol.asyncDispose]: async () => app.close() };
}

/** What `/healthz` says of a centre that is not primary. */
export interface Standing {
  readonly role: string;
  readonly primary?: string;
  readonly api?: string;
  readonly message: string;
}

function standingOf(center: PlatformCenter, problem: string | undefined): Standing {
  const { role, primary, decision } = center.recovery.status();
  const api = primary === undefined ? undefined : center.settings.apis.get(primary);
  return {
    // It is primary by election, but does not serve: to those who ask it is a standby.
    role: role === 'primary' ? 'backup' : role,
    ...(primary === undefined ? {} : { primary }),
    ...(api === undefined ? {} : { api }),
    message: problem ?? decision,
  };
}

function welcome(center: PlatformCenter, problem: string | undefined): string {
  const { primary, api, message } = standingOf(center, problem);
  const where = primary === undefined ? 'There is no primary now' : `The primary is ${primary}`;
  return `This is ${center.self}, a standby centre. ${where}${api === undefined ? '' : ` at ${api}`}.\n${message}\n`;
}

function notPrimary(center: PlatformCenter, problem: string | undefined): HeptadError<'NOT_PRIMARY'> {
  const { primary, api, message } = standingOf(center, problem);
  const where = primary === undefined ? `there is no primary now (${message})` : `${primary} is`;
  return new HeptadError('NOT_PRIMARY', `${center.self} is a standby centre and serves nobody: ${where}`, {
    retryable: true,
    hint:
      api === undefined
        ? '"heptad dr status" tells how the centres are; "heptad dr failover" makes this one primary'
        : `use the primary's API: ${api}`,
    details: { ...(primary === undefined ? {} : { primary }), ...(api === undefined ? {} : { api }) },
  });
}

/**
 * Whoever may read the platform's files on this machine may ask and move the primary. Users and tokens are the primary's: a
 * standby must not decide by a copy that may be out of date.
 */
async function localGate(runDirectory: string): Promise<Gate> {
  const path = join(runDirectory, 'admin.token');
  const read = async (): Promise<string> => (await readFile(path, 'utf8')).trim();
  await read().catch(() => writeSecret(path, randomBytes(TOKEN_BYTES).toString('base64url')));
  const limiter = new RateLimiter(LIMIT);
  const limit = (address: string): void => {
    const rate = limiter.check(address);
    if (rate.allowed) return;
    throw new HeptadError('RATE_LIMITED', `too many requests from ${address}`, {
      retryable: true,
      details: { retryAfterMs: rate.retryAfterMs },
    });
  };
  return {
    authenticate: async (token) => {
      const given = Buffer.from(token);
      const wanted = Buffer.from(await read());
      if (given.length === wanted.length && timingSafeEqual(given, wanted))
        return { id: 'local-admin', type: 'service', roles: ['admin'] };
      throw new HeptadError('TOKEN_INVALID', 'a standby centre knows only the administrator of its machine', {
        hint: `run the command on that machine, as a user who can read ${path}; users and tokens are known to the primary`,
      });
    },
    // The machine's administrator is not held up by what workloads of this machine still ask in vain.
    admit: async () => {},
    admitAnonymous: limit,
  };
}
