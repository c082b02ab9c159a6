// Regular expressions that take linear time: RE2's syntax, run as a Thompson automaton, always anchored.

// JavaScript's own engine backtracks: `(a+)+$` against thirty letters runs for minutes, and any user may send a
// query. Source: Thompson 1968 as told by Cox, "Regular Expression Matching Can Be Simple And Fast" (2007).

import { MonitoringError } from '../errors.ts';
import { type PatternNode, parsePattern } from './regex-parse.ts';

/** More states than this is a counted repetition of a counted repetition. */
const MAX_STATES = 10_000;

/** A consuming state tests one character; a split prefers `next`; a save notes where a group begins or ends. */
type State =
  | { readonly kind: 'character'; readonly test: (code: number) => boolean; readonly next: number }
  | { readonly kind: 'split'; next: number; other: number }
  | { readonly kind: 'save'; readonly slot: number; readonly next: number }
  | { readonly kind: 'start' | 'end'; readonly next: number }
  | { readonly kind: 'accept' };

/** A compiled pattern. */
interface Automaton {
  readonly states: readonly State[];
  readonly entry: number;
  readonly groups: number;
  readonly names: ReadonlyMap<string, number>;
}

/**
 * A test whether a whole text matches `pattern`. Throws `INVALID_QUERY` when the pattern is not valid.
 *
 * Time is proportional to (length of the text) x (size of the pattern), for every pattern and text.
 */
export function compilePattern(pattern: string): (text: string) => boolean {
  const literals = literalAlternatives(pattern);
  if (literals !== undefined) return (text) => literals.has(text);
  if (pattern === '.*') return () => true;
  if (pattern === '.+') return (text) => text !== '';
  const automaton = compile(pattern);
  return (text) => run(automaton, text, false) !== undefined;
}

/** What the groups of a pattern caught. */
export interface Captures {
  /** By number; 0 is the whole text. */
  readonly groups: readonly (string | undefined)[];
  readonly names: ReadonlyMap<string, number>;
}

/** Like {@link compilePattern}, and answers what the groups caught, preferring as Perl does. */
export function compileCaptures(pattern: string): (text: string) => Captures | undefined {
  const automaton = compile(pattern);
  return (text) => {
    const slots = run(automaton, text, true);
    if (slots === undefined) return undefined;
    const groups: (string | undefined)[] = [text];
    for (let index = 2; index <= automaton.groups * 2; index += 2) {
      const [from, to] = [slots[index], slots[index + 1]];
      groups.push(from === undefined || to === undefined ? undefined : text.slice(from, to));
    }
    return { groups, names: automaton.names };
  };
}

function compile(pattern: string): Automaton {
  const states: State[] = [];
  const { root, names, groups } = parsePattern(pattern);
  const accept = add(states, { kind: 'accept' }, pattern);
  return { states, entry: build(root, states, accept, pattern), names, groups };
}

/** `a|b|c` without any operator, the usual dashboard variable, is a set look-up. */
function literalAlternatives(pattern: string): ReadonlySet<string> | undefined {
  return /^[\w /:@%=,;~#!<>"'-]*(\|[\w /:@%=,;~#!<>"'-]*)*$/.test(pattern)
    ? new Set(pattern.split('|'))
    : undefined;
}

function add(states: State[], state: State, pattern: string): number {
  if (states.length >= MAX_STATES) {
    throw new MonitoringError(
      'INVALID_QUERY',
      `the regular expression "${pattern.slice(0, 60)}" is too large: over ${MAX_STATES} states`,
      {
        hint: 'use smaller counts in {n,m}',
      },
    );
  }
  return states.push(state) - 1;
}

/** Adds the states of `node` that lead to `next`, and answers where they begin. Built backwards, so no patching. */
function build(node: PatternNode, states: State[], next: number, pattern: string): number {
  switch (node.kind) {
    case 'empty':
      return next;
    case 'character':
      return add(states, { kind: 'character', test: node.test, next }, pattern);
    case 'start':
    case 'end':
      return add(states, { kind: node.kind, next }, pattern);
    case 'sequence': {
      let entry = next;
      for (const part of node.parts.toReversed()) entry = build(part, states, entry, pattern);
      return entry;
    }
    case 'choice':
      return node.options
        .map((option) => build(option, states, next, pattern))
        .reduceRight((other, entry) => add(states, { kind: 'split', next: entry, other }, pattern));
    case 'group': {
      const close = add(states, { kind: 'save', slot: node.index * 2 + 1, next }, pattern);
      const inner = build(node.inner, states, close, pattern);
      return add(states, { kind: 'save', slot: node.index * 2, next: inner }, pattern);
    }
    case 'repeat':
      return buildRepeat(node, states, next, pattern);
  }
}

function buildRepeat(
  node: PatternNode & { kind: 'repeat' },
  states: State[],
  next: number,
  pattern: string,
): number {
  const split = (body: number, exit: number): State =>
    node.lazy ? { kind: 'split', next: exit, other: body } : { kind: 'split', next: body, other: exit };
  let entry = next;
  if (node.max === undefined) {
    const loop: State & { kind: 'split' } = { kind: 'split', next, other: next };
    entry = add(states, loop, pattern);
    const body = build(node.part, states, entry, pattern);
    if (node.lazy) loop.other = body;
    else loop.next = body;
  } else {
    for (let count = node.min; count < node.max; count++) {
      entry = add(states, split(build(node.part, states, entry, pattern), next), pattern);
    }
  }
  for (let count = 0; count < node.min; count++) entry = build(node.part, states, entry, pattern);
  return entry;
}

/** Positions of group begins and ends by slot. */
type Slots = readonly (number | undefined)[];

/** One way through the automaton that is still alive. */
interface Thread {
  readonly at: number;
  readonly slots: Slots;
}

const NO_SLOTS: Slots = [];

/** The slots of the preferred match of the whole text, `undefined` without a match. */
function run({ states, entry }: Automaton, text: string, capture: boolean): Slots | undefined {
  const seen = new Uint32Array(states.length);
  let generation = 1;
  let index = 0;
  const follow = (from: number, slots: Slots, into: Thread[]): void => {
    const stack: Thread[] = [{ at: from, slots }];
    for (let thread = stack.pop(); thread !== undefined; thread = stack.pop()) {
      // The first thread to reach a state is the preferred one; later ones could only match the same way.
      if (seen[thread.at] === generation) continue;
      seen[thread.at] = generation;
      const state = states[thread.at];
      if (state === undefined) continue;
      if (state.kind === 'character' || state.kind === 'accept') into.push(thread);
      else if (state.kind === 'split') {
        stack.push({ at: state.other, slots: thread.slots }, { at: state.next, slots: thread.slots });
      } else if (state.kind === 'save') {
        stack.push({ at: state.next, slots: capture ? withSlot(thread.slots, state.slot, index) : NO_SLOTS });
      } else if (state.kind === 'start' ? index === 0 : index >= text.length) {
        stack.push({ at: state.next, slots: thread.slots });
      }
    }
  };
  let current: Thread[] = [];
  follow(entry, NO_SLOTS, current);
  while (index < text.length && current.length > 0) {
    const code = text.codePointAt(index) ?? 0;
    index += code > 0xffff ? 2 : 1;
    generation++;
    const next: Thread[] = [];
    for (const thread of current) {
      const state = states[thread.at];
      if (state?.kind === 'character' && state.test(code)) follow(state.next, thread.slots, next);
    }
    current = next;
  }
  if (index < text.length) return undefined;
  return current.find((thread) => states[thread.at]?.kind === 'accept')?.slots;
}

function withSlot(slots: Slots, slot: number, position: number): Slots {
  const copy = slots.slice();
  while (copy.length <= slot) copy.push(undefined);
  copy[slot] = position;
  return copy;
}
