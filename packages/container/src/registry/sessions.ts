// The conversations of one client: one for each registry and mirror, kept with their tokens.

import type { Clock, Random } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { type CredentialOptions, findCredentials } from './credentials.ts';
import type { HttpClient } from './http.ts';
import type { RegistryLocation } from './location.ts';
import type { RetryOptions } from './retry.ts';
import { RegistrySession } from './session.ts';

/** Which registries are spoken to, and how. */
export interface SessionsOptions extends CredentialOptions {
  readonly plainHttp?: boolean;
  readonly mirrors?: Readonly<Record<string, readonly string[]>>;
}

/** What every session of a client shares. */
export interface SessionsParts {
  readonly http: HttpClient;
  readonly retry: RetryOptions;
  readonly clock: Clock;
  readonly random: Random;
}

/** Sessions by registry and mirror. */
export class RegistrySessions {
  private readonly options: SessionsOptions;
  private readonly parts: SessionsParts;
  private readonly sessions = new Map<string, RegistrySession>();

  constructor(options: SessionsOptions, parts: SessionsParts) {
    this.options = options;
    this.parts = parts;
  }

  /** Where a reference can be read from: mirrors in their order, then the registry itself. */
  sources(location: RegistryLocation): RegistrySession[] {
    const mirrors = this.options.mirrors?.[location.registry] ?? [];
    return [...mirrors.map((mirror) => this.mirror(mirror)), this.origin(location)];
  }

  /** The registry itself. Throws nothing: whether it is there shows when it is asked. */
  origin({ host, registry }: RegistryLocation): RegistrySession {
    return this.keep(host, { host, credentialsFor: registry });
  }

  private mirror(address: string): RegistrySession {
    const url = URL.canParse(address) ? new URL(address) : undefined;
    if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
      throw new ContainerError('INVALID_ARGUMENT', `"${address}" is not the address of a mirror`, {
        hint: 'write https://host[:port][/path]',
      });
    }
    const path = url.pathname.replace(/^\/+|\/+$/g, '');
    return this.keep(address, {
      host: url.host,
      credentialsFor: url.host,
      scheme: url.protocol === 'http:' ? 'http' : 'https',
      ...(path === '' ? {} : { prefix: `${path}/` }),
    });
  }

  private keep(
    key: string,
    parts: {
      readonly host: string;
      readonly credentialsFor: string;
      readonly scheme?: 'http' | 'https';
      readonly prefix?: string;
    },
  ): RegistrySession {
    const known = this.sessions.get(key);
    if (known !== undefined) return known;
    const session = new RegistrySession({
      ...parts,
      ...this.parts,
      plainHttp: this.options.plainHttp ?? false,
      credentials: () => findCredentials(parts.credentialsFor, this.options),
    });
    this.sessions.set(key, session);
    return session;
  }
}
