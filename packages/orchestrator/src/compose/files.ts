// Files a Compose file refers to: named by the parser, read between two of its passes.

import { errorMessage } from '@heptad/core';

/** A file that was asked for. */
export type FileContent = { readonly content: string } | { readonly error: string };

/** Parsing is synchronous and reading is not: a pass that meets an unread file notes it, and the next one has it. */
export class FileShelf {
  readonly #read: ((path: string) => string | Promise<string>) | undefined;
  readonly #known = new Map<string, FileContent>();
  readonly #wanted = new Set<string>();

  constructor(read: ((path: string) => string | Promise<string>) | undefined) {
    this.#read = read;
  }

  /** The file, or undefined when it has yet to be read. */
  get(path: string): FileContent | undefined {
    const known = this.#known.get(path);
    if (known === undefined) this.#wanted.add(path);
    return known;
  }

  /** Reads what was asked for; false when there was nothing. */
  async fetch(): Promise<boolean> {
    if (this.#wanted.size === 0) return false;
    for (const path of this.#wanted) this.#known.set(path, await this.#fetchOne(path));
    this.#wanted.clear();
    return true;
  }

  async #fetchOne(path: string): Promise<FileContent> {
    if (this.#read === undefined) return { error: 'files cannot be read here' };
    try {
      return { content: await this.#read(path) };
    } catch (error) {
      return { error: errorMessage(error) };
    }
  }
}
