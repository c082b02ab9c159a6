// The feasible nodes of one class of equal replicas, best first, kept up to date while nodes fill.

/** A node's standing for one class of replicas. `version` tells a stale entry from the present one. */
interface Entry {
  readonly node: number;
  readonly score: number;
  readonly version: number;
}

/**
 * A max-heap of nodes by score; equal scores go to the lower node number, so that the same input always gives the same
 * placement. A node whose score changed is pushed again and its older entries are skipped when they come up: that is
 * cheaper than finding them.
 */
export class CandidateHeap {
  readonly #entries: Entry[] = [];
  readonly #versions: Uint32Array;

  constructor(nodes: number) {
    this.#versions = new Uint32Array(nodes);
  }

  /** Sets the node's score; a negative one takes the node out. */
  set(node: number, score: number): void {
    const version = (this.#versions[node] ?? 0) + 1;
    this.#versions[node] = version;
    if (score < 0) return;
    this.#entries.push({ node, score, version });
    this.#up(this.#entries.length - 1);
  }

  /** The best node now, which stays in; undefined when none is left. */
  best(): { node: number; score: number } | undefined {
    for (;;) {
      const top = this.#entries[0];
      if (top === undefined) return undefined;
      if (top.version === this.#versions[top.node]) return top;
      const last = this.#entries.pop();
      if (last !== undefined && this.#entries.length > 0) {
        this.#entries[0] = last;
        this.#down();
      }
    }
  }

  #better(a: Entry, b: Entry): boolean {
    return a.score !== b.score ? a.score > b.score : a.node < b.node;
  }

  #up(start: number): void {
    const moving = this.#entries[start];
    if (moving === undefined) return;
    let index = start;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = this.#entries[parentIndex];
      if (parent === undefined || !this.#better(moving, parent)) break;
      this.#entries[index] = parent;
      index = parentIndex;
    }
    this.#entries[index] = moving;
  }

  #down(): void {
    const moving = this.#entries[0];
    if (moving === undefined) return;
    let index = 0;
    for (;;) {
      const left = this.#entries[2 * index + 1];
      const right = this.#entries[2 * index + 2];
      if (left === undefined) break;
      const rightIsBetter = right !== undefined && this.#better(right, left);
      const child = rightIsBetter ? right : left;
      if (!this.#better(child, moving)) break;
      this.#entries[index] = child;
      index = 2 * index + (rightIsBetter ? 2 : 1);
    }
    this.#entries[index] = moving;
  }
}
