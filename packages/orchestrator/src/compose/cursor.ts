// Cursor: a place in the YAML document that can be read as what it should be, and that knows its line and path.

import { errorMessage, isHeptadError, parseBytes, parseCpu, parseDuration } from '@heptad/core';
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  type LineCounter,
  type Node,
  type Pair,
} from 'yaml';
import { interpolate } from './interpolate.ts';
import { type ComposeProblem, codeFrame, didYouMean } from './problems.ts';

/** What all cursors of a document share. */
export interface Reading {
  readonly text: string;
  readonly document: Document;
  readonly lines: LineCounter;
  readonly environment: Readonly<Record<string, string>>;
  readonly problems: ComposeProblem[];
}

/** A member of a mapping. */
export interface Entry {
  readonly key: string;
  readonly value: Cursor;
  /** The place of the key itself. */
  readonly at: Cursor;
}

/** What a mapping may have: a reader for each key, and reasons for keys that Compose has and Heptad has not. */
export interface Fields {
  readonly [key: string]: (value: Cursor) => void;
}

/** Merges (`<<`) nest this deep at most; deeper is a loop. */
const MAXIMUM_MERGES = 16;

/** See the file's first line. Reading never throws: what is not as it should be is a problem, and undefined. */
export class Cursor {
  readonly reading: Reading;
  readonly node: Node | undefined;
  readonly path: string;
  /** Where to point when the node itself is empty. */
  readonly #fallback: Node | undefined;

  constructor(reading: Reading, node: unknown, path: string, fallback?: Node) {
    this.reading = reading;
    this.#fallback = isNode(node) ? node : fallback;
    this.node = resolve(reading.document, node);
    this.path = path;
  }

  /** Nothing is written here, or null. */
  get empty(): boolean {
    return this.node === undefined || (isScalar(this.node) && this.node.value === null);
  }

  get isMap(): boolean {
    return isMap(this.node);
  }

  get isList(): boolean {
    return isSeq(this.node);
  }

  /** Says that something is wrong here. */
  problem(message: string, hint?: string): undefined {
    const { lines, text, problems } = this.reading;
    const offset = this.#fallback?.range?.[0] ?? 0;
    const { line, col } = lines.linePos(offset);
    const place = { line: Math.max(1, line), column: Math.max(1, col) };
    problems.push({
      path: this.path,
      message,
      ...place,
      ...(hint === undefined ? {} : { hint }),
      frame: codeFrame(text, place.line, place.column),
    });
    return undefined;
  }

  /** What is here, for "is a list, not a text". */
  describe(): string {
    if (this.empty) return 'empty';
    if (this.isMap) return 'a mapping';
    if (this.isList) return 'a list';
    return isScalar(this.node) ? `"${String(this.node.value)}"` : 'unreadable';
  }

  /** A text, number or boolean as text, variables replaced. */
  text(what = 'a text'): string | undefined {
    if (!isScalar(this.node) || this.node.value === null) {
      return this.problem(`must be ${what}, but is ${this.describe()}`);
    }
    const { value, source, type } = this.node;
    // As it was written: 1.10 is a version, not the number 1.1.
    const raw =
      typeof value !== 'string' && type === 'PLAIN' && source !== undefined ? source : String(value);
    const { text, problems } = interpolate(raw, this.reading.environment);
    for (const { message, hint } of problems) this.problem(message, hint);
    return problems.length > 0 ? undefined : text;
  }

  /** A whole number. */
  integer(range: { min: number; max: number }, what: string): number | undefined {
    const text = this.text(what);
    if (text === undefined) return undefined;
    const value = /^-?\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (Number.isInteger(value) && value >= range.min && value <= range.max) return value;
    return this.problem(
      `must be ${what}, a whole number from ${range.min} to ${range.max}, but is "${text}"`,
    );
  }

  boolean(): boolean | undefined {
    const text = this.text('true or false');
    if (text === undefined) return undefined;
    if (text === 'true') return true;
    if (text === 'false') return false;
    return this.problem(`must be true or false, but is "${text}"`);
  }

  /** One of a few words. */
  choice<const Word extends string>(words: readonly Word[]): Word | undefined {
    const text = this.text(words.join(' or '));
    if (text === undefined) return undefined;
    const found = words.find((word) => word === text);
    if (found !== undefined) return found;
    const near = didYouMean(text, words);
    return this.problem(
      `must be one of ${words.join(', ')}, but is "${text}"`,
      near === undefined ? undefined : `did you mean "${near}"?`,
    );
  }

  /** A duration as milliseconds. */
  duration(): number | undefined {
    return this.#quantity('a duration', parseDuration);
  }

  /** An amount of memory or storage, as bytes. */
  bytes(): number | undefined {
    return this.#quantity('an amount of bytes', parseBytes);
  }

  /** CPU as millicores. */
  cpu(): number | undefined {
    return this.#quantity('an amount of CPU', parseCpu);
  }

  #quantity(what: string, parse: (text: string) => number): number | undefined {
    const text = this.text(what);
    if (text === undefined) return undefined;
    try {
      return parse(text);
    } catch (error) {
      return this.problem(errorMessage(error), isHeptadError(error) ? error.hint : undefined);
    }
  }

  /** The items of a list. */
  items(what = 'a list'): Cursor[] {
    if (!isSeq(this.node)) {
      this.problem(`must be ${what}, but is ${this.describe()}`);
      return [];
    }
    return this.node.items.map(
      (item, index) => new Cursor(this.reading, item, `${this.path}[${index}]`, this.#fallback),
    );
  }

  /** A list of texts; what is no text is a problem. */
  texts(what = 'a list of texts'): string[] {
    return this.items(what).flatMap((item) => item.text() ?? []);
  }

  /** The members of a mapping, `<<` merged in. */
  entries(what = 'a mapping'): Entry[] {
    if (!isMap(this.node)) {
      this.problem(`must be ${what}, but is ${this.describe()}`);
      return [];
    }
    return [...this.#members(this.node, 0).values()];
  }

  /** One member, without judging the others. */
  get(key: string): Cursor | undefined {
    return isMap(this.node) ? this.#members(this.node, 0).get(key)?.value : undefined;
  }

  /**
   * Reads a mapping of known keys; any other key is a problem that names it. Keys that begin with `x-` are the author's
   * own, as Compose has it.
   */
  fields(fields: Fields, unsupported: Readonly<Record<string, string>> = {}): void {
    const known = Object.keys(fields);
    for (const { key, value, at } of this.entries()) {
      const read = Object.hasOwn(fields, key) ? fields[key] : undefined;
      if (read !== undefined) {
        read(value);
        continue;
      }
      if (key.startsWith('x-')) {
        const near = didYouMean(key, ['x-heptad']);
        if (near !== undefined) at.problem(`unknown key "${key}"`, `did you mean "${near}"?`);
        continue;
      }
      if (Object.hasOwn(unsupported, key)) {
        at.problem(`"${key}" is a Compose key that Heptad does not support`, unsupported[key] || undefined);
        continue;
      }
      const near = didYouMean(key, known);
      const hint = near === undefined ? `known keys: ${known.sort().join(', ')}` : `did you mean "${near}"?`;
      at.problem(`unknown key "${key}"`, hint);
    }
  }

  /** A place beneath this one that nothing was written for, for problems of what is missing. */
  missing(key: string): Cursor {
    return new Cursor(this.reading, undefined, join(this.path, key), this.#fallback);
  }

  #members(map: { items: Pair[] }, depth: number): Map<string, Entry> {
    const members = new Map<string, Entry>();
    const merged: Pair[] = [];
    for (const pair of map.items) {
      const keyNode = isNode(pair.key) ? pair.key : undefined;
      const raw = isScalar(pair.key) ? pair.key.value : pair.key;
      if (raw === '<<' || typeof raw === 'symbol') {
        merged.push(pair);
        continue;
      }
      const key = isScalar(keyNode) && keyNode.source !== undefined ? keyNode.source : String(raw);
      const path = join(this.path, key);
      members.set(key, {
        key,
        value: new Cursor(this.reading, pair.value, path, keyNode),
        at: new Cursor(this.reading, keyNode, path),
      });
    }
    for (const pair of merged) this.#merge(pair, members, depth);
    return members;
  }

  /** What is written here wins over what is merged in, and an earlier merge over a later one. */
  #merge(pair: Pair, members: Map<string, Entry>, depth: number): void {
    const place = new Cursor(this.reading, pair.value, join(this.path, '<<'));
    if (depth >= MAXIMUM_MERGES) {
      place.problem(`merges are nested deeper than ${MAXIMUM_MERGES}`);
      return;
    }
    const sources = isSeq(place.node) ? place.node.items : [place.node];
    for (const source of sources) {
      const map = resolve(this.reading.document, source);
      if (!isMap(map)) {
        place.problem('<< must name a mapping, such as *defaults');
        continue;
      }
      for (const [key, entry] of this.#members(map, depth + 1)) {
        if (!members.has(key)) members.set(key, entry);
      }
    }
  }
}

function resolve(document: Document, node: unknown): Node | undefined {
  if (isAlias(node)) return node.resolve(document);
  return isNode(node) ? node : undefined;
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}
