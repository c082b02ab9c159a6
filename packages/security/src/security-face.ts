// What goes into and comes out of CloudNativeSecurity.

import type { Clock, Principal, StateStore } from '@heptad/core';
import type { AccessControlOptions } from './access/access-control.ts';
import type { TokenPair } from './identity/tokens.ts';
import type { KeyDescription } from './keys/key-description.ts';
import type { RootKeySource } from './keys/keyring-file.ts';
import type { RateLimiterOptions } from './limit/rate-limiter.ts';

/** Options of `CloudNativeSecurity.open`. */
export interface CloudNativeSecurityOptions {
  /** Keyring, audit log and signing key live here (mode 0700). One process owns it. */
  readonly directory: string;
  /** Users, sessions, tokens and policies. Default: one in memory, gone with the process. Closed by its owner. */
  readonly store?: StateStore;
  readonly clock?: Clock;
  /** What opens the keyring. Default: the root key file `keyring.json.root` in the directory, made at first use. */
  readonly root?: RootKeySource;
  /** Called after each change of the keyring file, before what changed it resolves: for a copy elsewhere. */
  readonly onKeyringSaved?: () => Promise<void>;
  /** Tells this audit log from others that share the store. Default: it is the only one. */
  readonly auditName?: string;
  /** Requests per client. Default 1,200 a minute, 300 at once. */
  readonly rateLimit?: RateLimiterOptions;
  /** Other access rules than the built-in matrix. */
  readonly access?: AccessControlOptions;
}

/** A user name with password, or a token. */
export type Credentials =
  | { readonly username: string; readonly password: string; readonly client?: string }
  | { readonly token: string };

/** Who it is; after a login with the tokens to go on with. */
export interface AuthenticationResult {
  readonly principal: Principal;
  readonly tokens?: TokenPair;
}

/** A request to be let through by `CloudNativeSecurity.guard`. */
export interface GuardedRequest {
  /** Absent: nobody said who they are. */
  readonly token?: string;
  /** Address of the caller. */
  readonly client: string;
  readonly action: string;
  readonly resource: string;
  readonly context?: Readonly<Record<string, unknown>>;
  /** Whether it came over an encrypted or purely local channel. */
  readonly encrypted: boolean;
  readonly requestId?: string;
}

/** What the audit log keeps of a request beside who, what and whether. */
export interface RequestFacts {
  readonly client?: string;
  readonly requestId?: string;
}

/** What `CloudNativeSecurity.status` tells. */
export interface SecurityStatus {
  readonly users: number;
  readonly keys: readonly KeyDescription[];
  readonly policies: readonly {
    readonly name: string;
    readonly level: string;
    readonly requires: readonly string[];
  }[];
  readonly audit: { readonly records: number; readonly headHash: string };
  readonly rateLimitedClients: number;
  /** Sentences about what an admin should do. */
  readonly advice: readonly string[];
}
