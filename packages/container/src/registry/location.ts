// Where an image reference leads: the registry's host and the repository's path there.

import type { Digest } from '../image/digest.ts';
import { parseReference } from '../image/reference.ts';

/** A reference as a registry understands it. */
export interface RegistryLocation {
  /** The reference as it was written. */
  readonly reference: string;
  /** The registry's name: what stands before the first slash, or `docker.io`. */
  readonly registry: string;
  /** `host[:port]` that serves it. */
  readonly host: string;
  /** Path of the repository, without the host. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

// Docker's own registry answers under another name than it is referred to by.
const HOSTS: Readonly<Record<string, string>> = {
  'docker.io': 'registry-1.docker.io',
  'index.docker.io': 'registry-1.docker.io',
};

/**
 * Reads a reference: `alpine` is `docker.io/library/alpine:latest`. The rules are those of distribution's reference
 * package. Throws `INVALID_REFERENCE`.
 */
export function locate(reference: string): RegistryLocation {
  const { repository, tag, digest } = parseReference(reference);
  const slash = repository.indexOf('/');
  const first = slash < 0 ? '' : repository.slice(0, slash);
  const hasHost = first.includes('.') || first.includes(':') || first === 'localhost';
  const registry = hasHost ? first : 'docker.io';
  const path = hasHost ? repository.slice(slash + 1) : repository;
  const host = HOSTS[registry] ?? registry;
  const official = host === HOSTS['docker.io'] && !path.includes('/');
  return {
    reference,
    registry,
    host,
    repository: official ? `library/${path}` : path,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** What a manifest is asked for by: the digest where there is one, for it cannot change. */
export function manifestName(location: RegistryLocation): string {
  return location.digest ?? location.tag ?? 'latest';
}

/** Whether traffic to this host never leaves the machine. */
export function isLoopback(hostname: string): boolean {
  const name = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  return (
    name === 'localhost' || name.endsWith('.localhost') || name === '::1' || /^127(\.\d{1,3}){3}$/.test(name)
  );
}
