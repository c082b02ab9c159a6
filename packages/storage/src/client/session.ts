// Session tags: what a reader must at least see to see its own writes.

import type { ConsistencySession } from '@heptad/core';
import { MAX_SESSION_OBJECTS } from '../limits.ts';
import { isTag, type Tag, ZERO_TAG } from '../model/tag.ts';

/** Tags by session; callers that bring no session of their own share the client's. */
export class Sessions {
  readonly #own: ConsistencySession = { tags: new Map() };
  /** Whether the client's own session has forgotten something. */
  #forgot = false;

  /** Remembers that the session has written or read this version. */
  note(session: ConsistencySession | undefined, bucket: string, key: string, tag: Tag): void {
    const { tags } = session ?? this.#own;
    const name = `${bucket}/${key}`;
    const known = tags.get(name);
    if (known !== undefined && known >= tag) return;
    tags.delete(name);
    tags.set(name, tag);
    if (session !== undefined || tags.size <= MAX_SESSION_OBJECTS) return;
    const oldest = tags.keys().next().value;
    if (oldest !== undefined) tags.delete(oldest);
    this.#forgot = true;
  }

  /** The oldest version the session may see; `undefined` when that is not known any more: then ask a quorum. */
  floor(session: ConsistencySession | undefined, bucket: string, key: string): Tag | undefined {
    const tag = (session ?? this.#own).tags.get(`${bucket}/${key}`);
    if (tag !== undefined) return isTag(tag) ? tag : undefined;
    return session === undefined && this.#forgot ? undefined : ZERO_TAG;
  }
}
