// The keys that detach a client from a terminal: `ctrl-p,ctrl-q` unless it asked for others.

import { ContainerError } from '../errors.ts';

/** Docker's default. */
export const DEFAULT_DETACH_KEYS = 'ctrl-p,ctrl-q';
const CONTROL = /^ctrl-([a-z@[\\\]^_])$/;

/** The byte of each key. Throws `INVALID_ARGUMENT`. */
export function parseDetachKeys(text: string): number[] {
  return (text === '' ? DEFAULT_DETACH_KEYS : text).split(',').map((key) => {
    const control = CONTROL.exec(key)?.[1];
    if (control !== undefined) return control.toUpperCase().charCodeAt(0) & 0x1f;
    if (/^[a-zA-Z]$/.test(key)) return key.charCodeAt(0);
    throw new ContainerError('INVALID_ARGUMENT', `invalid detach keys: "${text}"`, {
      hint: 'write letters or ctrl-LETTER, separated by commas',
    });
  });
}

/** Looks for the keys in what a client types. A beginning that turns out to be something else is passed on late. */
export class DetachKeys {
  private readonly keys: readonly number[];
  private matched = 0;

  constructor(text: string) {
    this.keys = parseDetachKeys(text);
  }

  /** What to pass on, and whether the keys were pressed. */
  filter(chunk: Uint8Array): { pass: Uint8Array; detached: boolean } {
    const pass: number[] = [];
    for (const byte of chunk) {
      if (byte === this.keys[this.matched]) {
        this.matched += 1;
        if (this.matched === this.keys.length) return { pass: Uint8Array.from(pass), detached: true };
        continue;
      }
      pass.push(...this.keys.slice(0, this.matched));
      this.matched = 0;
      if (byte === this.keys[0]) this.matched = 1;
      else pass.push(byte);
    }
    return { pass: Uint8Array.from(pass), detached: false };
  }
}
