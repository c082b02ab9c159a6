// Image references: `[host[:port]/]path[:tag][@digest]`.

import { ContainerError } from '../errors.ts';
import { type Digest, isDigest } from './digest.ts';

/** A reference taken apart. */
export interface ImageReference {
  /** Everything before tag and digest. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

// Grammar of distribution/reference: path components are lower case; the first may be a host with a port.
const HOST = /^([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]{2,39}\])(:[0-9]{1,5})?$/;
const COMPONENT = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const MAX_REPOSITORY_LENGTH = 255;

/** Takes a reference apart; without tag and digest the tag is `latest`. Throws `INVALID_REFERENCE`. */
export function parseReference(text: string): ImageReference {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.lastIndexOf(':');
  // A colon before the last slash belongs to a port.
  const hasTag = colon > named.lastIndexOf('/');
  const repository = hasTag ? named.slice(0, colon) : named;
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  if (!isRepository(repository)) throw invalid(text, `"${repository}" is not a repository name`);
  if (tag !== undefined && !TAG.test(tag)) throw invalid(text, `"${tag}" is not a tag`);
  if (digest !== undefined && !isDigest(digest)) throw invalid(text, `"${digest}" is not a digest`);
  if (digest !== undefined) return { repository, digest, ...(tag === undefined ? {} : { tag }) };
  return { repository, tag: tag ?? 'latest' };
}

/** The name a reference is stored under: `repository:tag`; `repository@digest` when it has only that. */
export function taggedName(reference: ImageReference): string {
  if (reference.tag === undefined && reference.digest !== undefined)
    return `${reference.repository}@${reference.digest}`;
  return `${reference.repository}:${reference.tag ?? 'latest'}`;
}

function isRepository(text: string): boolean {
  if (text.length === 0 || text.length > MAX_REPOSITORY_LENGTH) return false;
  const [first = '', ...rest] = text.split('/');
  const firstIsHost =
    rest.length > 0 && (first.includes('.') || first.includes(':') || first === 'localhost');
  return (
    (firstIsHost ? HOST.test(first) : COMPONENT.test(first)) && rest.every((part) => COMPONENT.test(part))
  );
}

function invalid(text: string, why: string): ContainerError {
  return new ContainerError(
    'INVALID_REFERENCE',
    `"${text.slice(0, 300)}" is not an image reference: ${why}`,
    {
      hint: 'write [host[:port]/]name[:tag] in lower case, for example shop/catalog:1.2, or name@sha256:...',
    },
  );
}
