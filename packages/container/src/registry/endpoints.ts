// The places an image can come from: mirrors in their order, then the registry itself.

import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { RegistrySession } from './session.ts';

// What one place may fail with while another is well. A mirror's refusal says nothing about the registry behind it.
const ELSEWHERE: ReadonlySet<string> = new Set([
  'ACCESS_DENIED',
  'CREDENTIALS_INVALID',
  'DIGEST_MISMATCH',
  'IMAGE_NOT_FOUND',
  'LIMIT_EXCEEDED',
  'PLAIN_HTTP_REFUSED',
  'RATE_LIMITED',
  'REGISTRY_FAILED',
  'REGISTRY_UNREACHABLE',
  'REGISTRY_UNTRUSTED',
  'UNAUTHENTICATED',
]);

/**
 * Asks one place after the other until one answers. The error of the last, the registry itself, is the one thrown: a
 * mirror is only a help. `onFailure` hears of the others.
 */
export async function tryEach<T>(
  sessions: readonly RegistrySession[],
  ask: (session: RegistrySession) => Promise<T>,
  onFailure?: (host: string, error: ContainerError) => void,
): Promise<T> {
  for (const [index, session] of sessions.entries()) {
    try {
      return await ask(session);
    } catch (error) {
      const isLast = index === sessions.length - 1;
      if (isLast || !(error instanceof ContainerError) || !isHeptadError(error) || !ELSEWHERE.has(error.code))
        throw error;
      onFailure?.(session.host, error);
    }
  }
  throw new ContainerError('INVALID_ARGUMENT', 'there is no registry to ask');
}
