// Typed records under one prefix of a StateStore, changed by compare-and-set.

import type { StateStore } from '@heptad/core';
import { SecurityError } from '../errors.ts';

/** Lost races in a row after which an update gives up: somebody writes this record in a loop. */
const MAX_ATTEMPTS = 16;
/** Records read at once. */
const PAGE = 500;

/** A record and the revision it was read at. */
export interface Stored<T> {
  readonly value: T;
  readonly revision: number;
}

/** Records of one form, `<prefix><id>` each. */
export class Records<T> {
  readonly #store: StateStore;
  readonly #prefix: string;
  readonly #parse: (value: unknown) => T;

  /** `parse` throws for what is not a record of this form. */
  constructor(store: StateStore, prefix: string, parse: (value: unknown) => T) {
    this.#store = store;
    this.#prefix = prefix;
    this.#parse = parse;
  }

  /** The record, if there is one. */
  async find(id: string): Promise<Stored<T> | undefined> {
    const { kvs } = await this.#store.range({ key: this.#prefix + id });
    const found = kvs[0];
    return found === undefined ? undefined : this.#read(found.key, found.value, found.modRevision);
  }

  /** All records whose id begins with `idPrefix`, by id. */
  async list(idPrefix = ''): Promise<Stored<T>[]> {
    const items: Stored<T>[] = [];
    const start = this.#prefix + idPrefix;
    let page = await this.#store.range({ key: start, prefix: true, limit: PAGE });
    for (;;) {
      for (const kv of page.kvs) items.push(this.#read(kv.key, kv.value, kv.modRevision));
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return items;
      // The least key after `last`, up to the end of the prefix.
      page = await this.#store.range({ key: `${last.key}\0`, end: `${start}\u{10ffff}`, limit: PAGE });
    }
  }

  /** Whether the record is new and was written (`created`), or was there before (`exists`). */
  async create(id: string, value: T): Promise<'created' | 'exists'> {
    const key = this.#prefix + id;
    const { succeeded } = await this.#store.txn({
      compare: [{ key, target: 'createRevision', is: '=', than: 0 }],
      success: [{ op: 'put', key, value: JSON.stringify(value) }],
    });
    return succeeded ? 'created' : 'exists';
  }

  /** Replaces the record when it still has that revision. */
  async replace(id: string, value: T, revision: number): Promise<'done' | 'conflict'> {
    const key = this.#prefix + id;
    const { succeeded } = await this.#store.txn({
      compare: [{ key, target: 'modRevision', is: '=', than: revision }],
      success: [{ op: 'put', key, value: JSON.stringify(value) }],
    });
    return succeeded ? 'done' : 'conflict';
  }

  /** Reads, changes and writes until nobody came between. `NOT_FOUND` when there is no such record. */
  async update(id: string, change: (value: T) => T | Promise<T>): Promise<T> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const found = await this.find(id);
      if (found === undefined) throw new SecurityError('NOT_FOUND', `there is no ${this.#prefix}${id}`);
      const value = await change(found.value);
      if ((await this.replace(id, value, found.revision)) === 'done') return value;
    }
    throw new SecurityError('CONFLICT', `cannot change ${this.#prefix}${id}: others kept changing it`, {
      retryable: true,
    });
  }

  /** Removes a record, or with `prefix` all whose ids begin so. Answers how many there were. */
  async remove(id: string, options: { readonly prefix?: boolean } = {}): Promise<number> {
    const { results } = await this.#store.txn({
      compare: [],
      success: [
        { op: 'delete', key: this.#prefix + id, ...(options.prefix === true ? { prefix: true } : {}) },
      ],
    });
    const result = results[0];
    return result?.op === 'delete' ? result.deleted.length : 0;
  }

  #read(key: string, text: string, revision: number): Stored<T> {
    try {
      return { value: this.#parse(JSON.parse(text)), revision };
    } catch {
      // Without the cause: parsers quote what they read, and that may be a hash or a sealed key.
      throw new SecurityError('CONFLICT', `the record ${key} in the state store is damaged`, {
        hint: 'restore it from a backup of the state store, or delete the key',
      });
    }
  }
}
