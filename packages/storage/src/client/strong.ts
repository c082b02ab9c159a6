// Linearizable operations on named objects: the quorum register, under whatever layout there is.

import type { VersionHeader } from '../model/version.ts';
import type { Draft, QuorumRegister } from './register.ts';
import type { Version } from './replica.ts';
import type { Router } from './router.ts';

/** See the head of this file. */
export class StrongObjects {
  readonly #router: Router;
  readonly #register: QuorumRegister;

  constructor(router: Router, register: QuorumRegister) {
    this.#router = router;
    this.#register = register;
  }

  async read(bucket: string, key: string, signal?: AbortSignal): Promise<Version | undefined> {
    return await this.#router.run(bucket, key, (route) => this.#register.read(route, signal));
  }

  async head(bucket: string, key: string, signal?: AbortSignal): Promise<VersionHeader | undefined> {
    return await this.#router.run(bucket, key, (route) => this.#register.head(route, signal));
  }

  // The tag is drawn once: a version stored in part under one layout and again under the next must be the same version,
  // or a reader could see this write, then a later one, then this one again.
  async write(draft: Draft, signal?: AbortSignal): Promise<VersionHeader> {
    const { bucket, key } = draft.header;
    const version = await this.#router.run(bucket, key, (route) => this.#register.draw(route, draft, signal));
    await this.store(version, signal);
    return version.header;
  }

  /** Brings a version that has its tag already to a quorum. */
  async store(version: Version, signal?: AbortSignal): Promise<void> {
    const { bucket, key } = version.header;
    await this.#router.run(bucket, key, (route) => this.#register.store(route, version, new Map(), signal));
  }
}
