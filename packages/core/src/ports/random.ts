// The port through which every part of Heptad draws chance.

/** A source of random numbers; not for keys or tokens, which `@heptad/security` draws from the operating system. */
export interface Random {
  /** A number in [0, 1). */
  next(): number;
  /** A whole number in [0, bound). `bound` >= 1. */
  integer(bound: number): number;
  /** `length` bytes. */
  bytes(length: number): Uint8Array;
  /** A UUID version 7 whose time part is `nowMs`, so that ids sort by age. */
  uuid(nowMs: number): string;
}
