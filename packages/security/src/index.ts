// The whole public face of @heptad/security.

export * from './access/access-control.ts';
export * from './access/matrix.ts';
export * from './audit/audit-log.ts';
export type { AuditLogOptions, CheckpointWitness } from './audit/audit-options.ts';
export {
  type AuditPage,
  type AuditQuery,
  type AuditVerifyOptions,
  verifyAuditLog,
} from './audit/audit-reader.ts';
export { type Checkpoint, loadSigningKey, parseCheckpoint } from './audit/checkpoint.ts';
export type { AuditEvent, AuditRecord } from './audit/record.ts';
export type { AuditFinding, AuditVerification } from './audit/verify.ts';
export { stateStoreWitness } from './audit/witness.ts';
export { canonicalJson } from './canonical.ts';
export * from './cloud-native-security.ts';
export * from './errors.ts';
export { generatePassword } from './identity/password.ts';
export {
  type ApiToken,
  type Authenticated,
  type TokenPair,
  TokenService,
  type TokenServiceOptions,
} from './identity/tokens.ts';
export { FIRST_ADMIN, type User, UserDirectory, type UserDirectoryOptions } from './identity/users.ts';
export type { KeyDescription } from './keys/key-description.ts';
export * from './keys/key-manager.ts';
export type { RootKeySource } from './keys/keyring-file.ts';
export * from './limit/rate-limiter.ts';
export * from './policy/security-policy.ts';
export * from './redact/redactor.ts';
export type * from './security-face.ts';
