// A position: how far a centre's copy has come, comparable between centres.

/**
 * `generation` is the reign in which the last applied change was made, `revision` its revision in the store of that reign's
 * primary. Positions are ordered by generation, then revision. Two copies at the same position hold the same content,
 * because a generation has one primary and a primary never takes back a revision.
 */
export interface Position {
  readonly generation: number;
  readonly revision: number;
}

/** Of an empty copy. */
export const ORIGIN: Position = { generation: 0, revision: 0 };

/** Negative when `a` is behind `b`. */
export function comparePositions(a: Position, b: Position): number {
  return a.generation - b.generation || a.revision - b.revision;
}

/** `3/120`: generation 3, revision 120. */
export function formatPosition(position: Position): string {
  return `${position.generation}/${position.revision}`;
}
