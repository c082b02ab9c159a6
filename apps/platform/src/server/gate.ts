// The gate of every route, over @heptad/security: rate limit, identity, access, audit.

import { HeptadError, type Principal } from '@heptad/core';
import { type CloudNativeSecurity, RateLimiter } from '@heptad/security';
import type { Gate } from './app.ts';

/** Logins and other requests without a token, per address: enough for people, too few for guessing. */
const ANONYMOUS_LIMIT = { limit: 60, periodMs: 60_000, burst: 20 };

function refuse(client: string, retryAfterMs: number): never {
  throw new HeptadError('RATE_LIMITED', `too many requests from ${client}`, {
    hint: `try again in ${Math.ceil(retryAfterMs / 1000)} s`,
    details: { retryAfterMs },
    retryable: true,
  });
}

/** The gate of a server. Processes of the platform itself (nodes) are trusted not to flood and are not limited. */
export function securityGate(security: CloudNativeSecurity): Gate {
  const anonymous = new RateLimiter(ANONYMOUS_LIMIT);
  return {
    authenticate: async (token) => (await security.authenticate({ token })).principal,
    admit: async (principal: Principal, access, request) => {
      if (principal.type !== 'node') {
        const rate = security.checkRateLimit(principal.id);
        if (!rate.allowed) refuse(principal.id, rate.retryAfterMs);
      }
      const decision = await security.authorize(
        principal,
        access.action,
        access.resource,
        {},
        { client: request.address },
      );
      if (decision.allowed) return;
      throw new HeptadError(
        'FORBIDDEN',
        `"${principal.id}" may not ${access.action} ${access.resource} (${request.method} ${request.path})`,
        {
          hint: `ask an administrator for a role that may; yours: ${principal.roles.join(', ') || 'none'}`,
        },
      );
    },
    admitAnonymous: (address) => {
      const rate = anonymous.check(address);
      if (!rate.allowed) refuse(address, rate.retryAfterMs);
    },
  };
}
