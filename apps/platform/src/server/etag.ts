// ETag and If-Match: the resource's revision, quoted.

import { invalidArgument } from '@heptad/core';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** Sets the ETag of a resource's answer. */
export function setEtag(reply: Pick<FastifyReply, 'header'>, resource: { readonly revision: number }): void {
  reply.header('etag', `"${resource.revision}"`);
}

/**
 * The revision that `If-Match` demands; `*` and no header demand none. `If-None-Match: *` demands that there is nothing
 * yet, which is revision 0.
 */
export function ifRevisionOf(request: Pick<FastifyRequest, 'headers'>): { ifRevision?: number } {
  const header = request.headers['if-match'];
  if (header === undefined && request.headers['if-none-match'] === '*') return { ifRevision: 0 };
  if (header === undefined || header === '*') return {};
  const match = /^(?:W\/)?"(\d+)"$/.exec(header);
  if (match === null)
    throw invalidArgument(
      `If-Match "${header}" is no revision`,
      'send the ETag of an earlier answer, such as "17"',
    );
  return { ifRevision: Number(match[1]) };
}
