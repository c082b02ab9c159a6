// What is kept of sessions and API tokens: never a secret, only its hash.

import type { Principal } from '@heptad/core';
import { z } from 'zod';

/** A login of a person. */
export interface SessionRecord {
  readonly id: string;
  readonly user: string;
  /** SHA-256 of the present refresh token's secret, hex. */
  readonly secretHash: string;
  readonly createdAt: number;
  /** Last login or refresh. */
  readonly usedAt: number;
}

/** A token of a program. */
export interface ApiTokenRecord {
  readonly id: string;
  readonly description: string;
  readonly principal: {
    readonly id: string;
    readonly type: Principal['type'];
    readonly roles: readonly string[];
  };
  readonly scopes?: readonly string[] | undefined;
  readonly createdAt: number;
  readonly expiresAt?: number | undefined;
  readonly secretHash: string;
}

const sessionRecord: z.ZodType<SessionRecord> = z.strictObject({
  id: z.string(),
  user: z.string(),
  secretHash: z.string(),
  createdAt: z.number().int(),
  usedAt: z.number().int(),
});

const apiTokenRecord: z.ZodType<ApiTokenRecord> = z.strictObject({
  id: z.string(),
  description: z.string(),
  principal: z.strictObject({
    id: z.string(),
    type: z.enum(['user', 'service', 'node']),
    roles: z.array(z.string()),
  }),
  scopes: z.array(z.string()).optional(),
  createdAt: z.number().int(),
  expiresAt: z.number().int().optional(),
  secretHash: z.string(),
});

/** Throws for anything else. */
export function parseSession(value: unknown): SessionRecord {
  return sessionRecord.parse(value);
}

/** Throws for anything else. */
export function parseApiToken(value: unknown): ApiTokenRecord {
  return apiTokenRecord.parse(value);
}
