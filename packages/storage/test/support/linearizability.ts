// Is a history of reads and writes of one register linearizable? The search of Wing and Gong 1993 with the memory of
// visited configurations of Lowe 2017.

/** One operation as its caller saw it. Times are any growing numbers. */
export interface Operation {
  readonly kind: 'read' | 'write';
  /** What was written or read; '' is the value before the first write. */
  readonly value: string;
  readonly invokedAt: number;
  /** Infinity when the caller never learnt the outcome: it may have happened at any time since, or never. */
  readonly returnedAt: number;
}

/** The order that explains the history, or `undefined` when there is none. */
export function linearize(history: readonly Operation[]): Operation[] | undefined {
  const visited = new Set<string>();
  const all = (1n << BigInt(history.length)) - 1n;
  const search = (remaining: bigint, value: string, order: Operation[]): Operation[] | undefined => {
    const left = history.flatMap((operation, at) =>
      (remaining >> BigInt(at)) & 1n ? [{ operation, at }] : [],
    );
    if (left.every(({ operation }) => operation.returnedAt === Number.POSITIVE_INFINITY)) return order;
    const configuration = `${remaining} ${value}`;
    if (visited.has(configuration)) return undefined;
    visited.add(configuration);
    // Only an operation that began before every other one ended can be the next.
    const firstEnd = Math.min(...left.map(({ operation }) => operation.returnedAt));
    for (const { operation, at } of left) {
      if (operation.invokedAt > firstEnd) continue;
      if (operation.kind === 'read' && operation.value !== value) continue;
      const after = operation.kind === 'write' ? operation.value : value;
      const found = search(remaining & ~(1n << BigInt(at)), after, [...order, operation]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return search(all, '', []);
}
