// Who is asking, may they, and the keys that protect data.

/** Somebody who acts: a person, a workload or a part of the platform. */
export interface Principal {
  readonly id: string;
  readonly type: 'user' | 'service' | 'node';
  readonly roles: readonly string[];
  readonly attributes?: Readonly<Record<string, string>>;
}

/** The answer to "may this principal do this?", with its reasons. */
export interface Decision {
  readonly allowed: boolean;
  /** The rules that made the decision; empty when nothing matched, which denies. */
  readonly because: readonly string[];
  /** How much of the access the audit log keeps. */
  readonly auditLevel: 'NONE' | 'LOW' | 'MEDIUM' | 'HIGH';
}

/** Decides access. Total and default-deny. */
export interface Authorizer {
  decide(
    principal: Principal,
    action: string,
    resource: string,
    context?: Readonly<Record<string, unknown>>,
  ): Decision;
}

/** Ciphertext with the version of its key inside. */
export type Ciphertext = string;

/** Versioned symmetric keys that never leave their keeper (the semantics of Vault transit). */
export interface KeyManager {
  createKey(name: string): Promise<void>;
  /** `context` binds the ciphertext: decrypting with another one fails. */
  encrypt(
    keyName: string,
    plaintext: Uint8Array,
    context?: Readonly<Record<string, string>>,
  ): Promise<Ciphertext>;
  decrypt(
    keyName: string,
    ciphertext: Ciphertext,
    context?: Readonly<Record<string, string>>,
  ): Promise<Uint8Array>;
  /** The same plaintext under the newest version, without showing it. */
  rewrap(
    keyName: string,
    ciphertext: Ciphertext,
    context?: Readonly<Record<string, string>>,
  ): Promise<Ciphertext>;
  /** Adds a version and encrypts with it from now on. Answers its number. */
  rotate(keyName: string): Promise<number>;
  /** Refuses ciphertexts older than `minDecryptionVersion` from now on. */
  config(keyName: string, options: { minDecryptionVersion: number }): Promise<void>;
  describe(
    keyName: string,
  ): Promise<{ name: string; latestVersion: number; minDecryptionVersion: number; createdAt: number }>;
}

/** An X.509 workload identity (SPIFFE SVID), PEM. */
export interface X509Svid {
  readonly spiffeId: string;
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly expiresAt: number;
}

/** Gives a workload its identity and the roots it trusts. */
export interface IdentityProvider {
  svid(): X509Svid;
  bundle(): { trustDomain: string; rootsPem: readonly string[] };
  onRotate(callback: () => void): Disposable;
}
