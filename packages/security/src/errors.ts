// The errors of this package: one class, stable codes.

import { HeptadError, type HeptadErrorOptions } from '@heptad/core';

/** Every code this package throws. */
export type SecurityErrorCode =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'CONFLICT'
  | 'CLOSED'
  | 'KEY_NOT_FOUND'
  | 'KEY_EXISTS'
  | 'KEY_VERSION_TOO_OLD'
  | 'KEY_VERSION_TOO_NEW'
  | 'KEY_VERSION_RETIRED'
  | 'KEY_EXHAUSTED'
  | 'DECRYPTION_FAILED'
  | 'KEYRING_CORRUPT'
  | 'KEYRING_CHANGED'
  | 'WRONG_ROOT_KEY'
  | 'ROOT_KEY_MISSING'
  | 'INSECURE_FILE'
  | 'AUTHENTICATION_FAILED'
  | 'TOO_MANY_ATTEMPTS'
  | 'WEAK_PASSWORD'
  | 'USER_EXISTS'
  | 'LAST_ADMIN'
  | 'TOKEN_INVALID'
  | 'TOKEN_EXPIRED'
  | 'TOKEN_REUSED'
  | 'FORBIDDEN'
  | 'POLICY_VIOLATION'
  | 'RATE_LIMITED'
  | 'TOO_BUSY'
  | 'AUDIT_CORRUPT'
  | 'AUDIT_CONFLICT'
  | 'AUDIT_OVERLOADED'
  | 'AUDIT_FAILED';

/**
 * An error of `@heptad/security`. Neither its message nor its details ever hold a password, a token, a key or a
 * plaintext; the cause is left out wherever it could.
 */
export class SecurityError extends HeptadError<SecurityErrorCode> {
  constructor(code: SecurityErrorCode, message: string, options: HeptadErrorOptions = {}) {
    super(code, message, options);
    this.name = 'SecurityError';
  }
}
