// Spans of one trace to a tree.

import type { Span, SpanNode, Trace } from './trace-types.ts';

/**
 * Builds the tree. A span whose parent is missing is a root; spans that call each other parent in a circle (a broken
 * producer) are cut open at the earliest, so that every span appears exactly once.
 */
export function buildTrace(traceId: string, spans: readonly Span[]): Trace {
  const sorted = spans.toSorted((a, b) => a.startedAt - b.startedAt || b.durationMs - a.durationMs);
  const known = new Set(sorted.map((span) => span.spanId));
  const children = new Map<string, Span[]>();
  const roots: Span[] = [];
  for (const span of sorted) {
    const parent = span.parentSpanId;
    if (parent === undefined || !known.has(parent) || parent === span.spanId) roots.push(span);
    else children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const placed = new Set<string>();
  const nodes = roots.map((root) => assemble(root, children, placed));
  for (const span of sorted) if (!placed.has(span.spanId)) nodes.push(assemble(span, children, placed));
  const startedAt = Math.min(...sorted.map((span) => span.startedAt));
  const endedAt = sorted.reduce(
    (latest, span) => Math.max(latest, span.startedAt + span.durationMs),
    startedAt,
  );
  return {
    traceId,
    startedAt,
    durationMs: endedAt - startedAt,
    services: [...new Set(sorted.map((span) => span.service))].sort(),
    spanCount: sorted.length,
    errorCount: sorted.filter((span) => span.status === 'error').length,
    roots: nodes,
  };
}

interface MutableNode extends Span {
  readonly children: MutableNode[];
}

/** Iterative, because a trace may be a chain of thousands of spans. */
function assemble(root: Span, children: ReadonlyMap<string, readonly Span[]>, placed: Set<string>): SpanNode {
  const top: MutableNode = { ...root, children: [] };
  placed.add(root.spanId);
  const open = [top];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    for (const child of children.get(node.spanId) ?? []) {
      if (placed.has(child.spanId)) continue;
      placed.add(child.spanId);
      const next: MutableNode = { ...child, children: [] };
      node.children.push(next);
      open.push(next);
    }
  }
  return top;
}
