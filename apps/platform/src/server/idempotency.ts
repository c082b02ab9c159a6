// Idempotency-Key: a POST that is sent again gets the first one's answer, and nothing is done twice.
//
// Source: draft-ietf-httpapi-idempotency-key-header. Answers may hold secrets (a new user's password), so they are kept
// sealed with a key of the platform.

import { createHash } from 'node:crypto';
import {
  HeptadError,
  isHeptadError,
  type LeaseGrantingStore,
  type Principal,
  type Random,
} from '@heptad/core';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { App } from './app.ts';

/** An answer is kept this long; so long a client may go on repeating. */
const KEEP_MS = 24 * 60 * 60 * 1000;
/** Larger answers are not kept; the effect is not repeated all the same. */
const MAX_ANSWER_BYTES = 256 * 1024;
const KEY_PATTERN = /^[\x21-\x7e]{1,255}$/;
const ENCRYPTION_KEY = 'platform-idempotency';
const PREFIX = '/idempotency/';

const stored = z.object({
  /** Hash of what was asked. */
  request: z.string(),
  /** Which run of the server took it on. */
  run: z.string(),
  answer: z.object({ status: z.number(), contentType: z.string(), sealed: z.string().optional() }).optional(),
});
type Stored = z.infer<typeof stored>;

/** What sealing needs of the key manager. */
export interface Sealer {
  createKey(name: string): Promise<void>;
  encrypt(name: string, plaintext: Uint8Array, context: Readonly<Record<string, string>>): Promise<string>;
  decrypt(name: string, sealed: string, context: Readonly<Record<string, string>>): Promise<Uint8Array>;
}

/** What answers are kept with. */
export interface IdempotencyOptions {
  readonly store: LeaseGrantingStore;
  readonly keys: Sealer;
  readonly random: Random;
  /** Now, for ids. */
  readonly now: () => number;
}

/** A request that took its key on: its answer is kept under `key` with the lease. */
interface Claim {
  readonly key: string;
  readonly leaseId: string;
  readonly request: string;
}

function hash(...texts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(texts)).digest('hex');
}

/** The key the client gave; undefined when it gave none. */
function givenKey(request: FastifyRequest): string | undefined {
  const header = request.headers['idempotency-key'];
  if (header === undefined) return undefined;
  if (typeof header === 'string' && KEY_PATTERN.test(header)) return header;
  throw new HeptadError('INVALID_ARGUMENT', 'the Idempotency-Key is not usable', {
    hint: 'send 1 to 255 printable characters without spaces, such as a UUID',
  });
}

/** Keeps the answers of requests that carry an Idempotency-Key. */
export class Idempotency {
  readonly #options: IdempotencyOptions;
  readonly #run: string;
  readonly #claims = new WeakMap<FastifyRequest, Claim>();

  constructor(options: IdempotencyOptions) {
    this.#options = options;
    this.#run = options.random.uuid(options.now());
  }

  /** Adds it to all POST routes with a principal whose bodies the framework reads. */
  install(app: App): void {
    app.addHook('preHandler', async (request, reply) => {
      const { principal } = request;
      if (request.method !== 'POST' || principal === undefined) return;
      if (request.routeOptions.config.rawBody === true) return;
      const key = givenKey(request);
      if (key !== undefined) await this.#begin(request, reply, principal, key);
    });
    app.addHook('onSend', async (request, reply, payload) => {
      const claim = this.#claims.get(request);
      if (claim !== undefined) {
        await this.#finish(claim, reply, payload).catch((error: unknown) => {
          // What was done is done: the answer must go out whether or not it could be kept.
          request.log.warn({ err: error }, 'an answer could not be kept for its Idempotency-Key');
        });
      }
      return payload;
    });
  }

  async #begin(
    request: FastifyRequest,
    reply: FastifyReply,
    principal: Principal,
    given: string,
  ): Promise<void> {
    const { store } = this.#options;
    const path = request.url.split('?')[0] ?? '';
    const key = `${PREFIX}${hash(principal.type, principal.id, path, given)}`;
    const asked = hash(request.url, JSON.stringify(request.body ?? null));
    const { kvs } = await store.range({ key });
    if (kvs[0] !== undefined) return this.#repeat(reply, key, asked, kvs[0].value);
    const { id: leaseId } = await store.grantLease({ ttlMs: KEEP_MS });
    const value: Stored = { request: asked, run: this.#run };
    const { succeeded, results } = await store.txn({
      compare: [{ key, target: 'version', is: '=', than: 0 }],
      success: [{ op: 'put', key, value: JSON.stringify(value), leaseId }],
      failure: [{ op: 'range', query: { key } }],
    });
    if (succeeded) {
      this.#claims.set(request, { key, leaseId, request: asked });
      return;
    }
    await store.revokeLease(leaseId);
    const [other] = results;
    if (other?.op === 'range') await this.#repeat(reply, key, asked, other.kvs[0]?.value ?? '{}');
  }

  /** Answers as the first time, or says why not. */
  async #repeat(reply: FastifyReply, key: string, asked: string, value: string): Promise<void> {
    const first = stored.parse(JSON.parse(value));
    if (first.request !== asked) {
      throw new HeptadError(
        'IDEMPOTENCY_KEY_REUSED',
        'this Idempotency-Key was used for another request before',
        { hint: 'use a new key for every request that is not a repetition' },
      );
    }
    const { answer } = first;
    if (answer === undefined) throw unfinished(first.run === this.#run);
    if (answer.sealed === undefined) {
      throw new HeptadError(
        'UNKNOWN_OUTCOME',
        `this request was carried out before (status ${answer.status}), but its answer was too large to keep`,
        { hint: 'read what it changed' },
      );
    }
    const body = await this.#options.keys.decrypt(ENCRYPTION_KEY, answer.sealed, { key });
    await reply
      .status(answer.status)
      .header('idempotency-replayed', 'true')
      .header('content-type', answer.contentType)
      .serializer((text: unknown) => String(text))
      .send(Buffer.from(body).toString('utf8'));
  }

  async #finish(claim: Claim, reply: FastifyReply, payload: unknown): Promise<void> {
    const { store, keys } = this.#options;
    // A failure of ours may pass: the same key may try again.
    if (reply.statusCode >= 500) return store.revokeLease(claim.leaseId);
    const text = typeof payload === 'string' ? payload : Buffer.isBuffer(payload) ? payload.toString() : '';
    const plaintext = Buffer.from(text);
    const sealed =
      plaintext.length > MAX_ANSWER_BYTES ? undefined : await this.#seal(keys, plaintext, { key: claim.key });
    const value: Stored = {
      request: claim.request,
      run: this.#run,
      answer: {
        status: reply.statusCode,
        contentType: String(reply.getHeader('content-type') ?? 'application/json; charset=utf-8'),
        ...(sealed === undefined ? {} : { sealed }),
      },
    };
    const put = { op: 'put', key: claim.key, value: JSON.stringify(value), leaseId: claim.leaseId } as const;
    await store.txn({ compare: [], success: [put] });
  }

  async #seal(keys: Sealer, plaintext: Uint8Array, context: { key: string }): Promise<string> {
    try {
      return await keys.encrypt(ENCRYPTION_KEY, plaintext, context);
    } catch (error) {
      if (!isHeptadError(error, 'KEY_NOT_FOUND')) throw error;
      await keys.createKey(ENCRYPTION_KEY).catch((made: unknown) => {
        if (!isHeptadError(made, 'KEY_EXISTS')) throw made;
      });
      return keys.encrypt(ENCRYPTION_KEY, plaintext, context);
    }
  }
}

function unfinished(running: boolean): HeptadError {
  return running
    ? new HeptadError(
        'IDEMPOTENCY_KEY_BUSY',
        'the first request with this Idempotency-Key is still running',
        {
          hint: 'wait for its answer, then repeat',
          retryable: true,
        },
      )
    : new HeptadError(
        'UNKNOWN_OUTCOME',
        'the server ended while it carried out the first request with this Idempotency-Key',
        { hint: 'read what it changed, then decide; a new request needs a new key' },
      );
}
