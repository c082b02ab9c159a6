// The syntax of regular expressions (RE2's, without word boundaries and Unicode scripts) as a tree.

import { MonitoringError } from '../errors.ts';
import { classTest, escapeTest, literalEscape } from './regex-class.ts';

/** A piece of a pattern. */
export type PatternNode =
  | { readonly kind: 'empty' | 'start' | 'end' }
  | { readonly kind: 'character'; readonly test: (code: number) => boolean }
  | { readonly kind: 'sequence'; readonly parts: readonly PatternNode[] }
  | { readonly kind: 'choice'; readonly options: readonly PatternNode[] }
  | { readonly kind: 'group'; readonly index: number; readonly inner: PatternNode }
  | {
      readonly kind: 'repeat';
      readonly part: PatternNode;
      readonly min: number;
      readonly max: number | undefined;
      readonly lazy: boolean;
    };

/** A parsed pattern. */
export interface ParsedPattern {
  readonly root: PatternNode;
  /** Number of capturing groups; the first has the index 1. */
  readonly groups: number;
  /** Names of named groups. */
  readonly names: ReadonlyMap<string, number>;
}

/** RE2's own bound on counted repetition. */
const MAX_REPEAT = 1000;
/** Deeper nesting than this is no pattern a person wrote, and recursion has a stack. */
const MAX_DEPTH = 200;
/** Longest pattern. */
const MAX_LENGTH = 4096;

/** Parses a pattern; `.` matches a line break too, as in Prometheus 3. Throws `INVALID_QUERY`. */
export function parsePattern(pattern: string): ParsedPattern {
  if (pattern.length > MAX_LENGTH) throw bad(pattern, 0, `it is longer than ${MAX_LENGTH} characters`);
  const parser = new PatternParser(pattern);
  const root = parser.choice(0);
  if (!parser.atEnd) throw bad(pattern, parser.position, 'unmatched )');
  return { root, groups: parser.groups, names: parser.names };
}

function bad(pattern: string, position: number, why: string): MonitoringError {
  return new MonitoringError(
    'INVALID_QUERY',
    `the regular expression "${pattern.slice(0, 80)}" is not valid at character ${position + 1}: ${why}`,
    {
      details: { pattern, patternPosition: position },
    },
  );
}

class PatternParser {
  readonly #text: string;
  #index = 0;
  #ignoreCase = false;
  groups = 0;
  readonly names = new Map<string, number>();

  constructor(text: string) {
    this.#text = text;
  }

  get atEnd(): boolean {
    return this.#index >= this.#text.length;
  }
  get position(): number {
    return this.#index;
  }

  choice(depth: number): PatternNode {
    if (depth > MAX_DEPTH) throw this.#bad('groups are nested too deeply');
    const caseBefore = this.#ignoreCase;
    const options = [this.#sequence(depth)];
    while (this.#take('|')) options.push(this.#sequence(depth));
    this.#ignoreCase = caseBefore;
    const [only] = options;
    return options.length === 1 && only !== undefined ? only : { kind: 'choice', options };
  }

  #sequence(depth: number): PatternNode {
    const parts: PatternNode[] = [];
    while (!this.atEnd && this.#peek() !== '|' && this.#peek() !== ')') parts.push(this.#repeated(depth));
    return parts.length === 0 ? { kind: 'empty' } : { kind: 'sequence', parts };
  }

  #repeated(depth: number): PatternNode {
    const part = this.#atom(depth);
    const bounds = this.#quantifier();
    if (bounds === undefined) return part;
    const lazy = this.#take('?');
    if (this.#quantifier() !== undefined) throw this.#bad('a repetition operator follows another one');
    return { kind: 'repeat', part, lazy, ...bounds };
  }

  #quantifier(): { min: number; max: number | undefined } | undefined {
    if (this.#take('*')) return { min: 0, max: undefined };
    if (this.#take('+')) return { min: 1, max: undefined };
    if (this.#take('?')) return { min: 0, max: 1 };
    const counted = /^\{(\d+)(,(\d*))?\}/.exec(this.#text.slice(this.#index));
    if (counted === null) return undefined;
    const min = Number(counted[1]);
    const max = counted[2] === undefined ? min : counted[3] === '' ? undefined : Number(counted[3]);
    if (min > MAX_REPEAT || (max ?? 0) > MAX_REPEAT) throw this.#bad(`a count is over ${MAX_REPEAT}`);
    if (max !== undefined && max < min) throw this.#bad('the counts of {n,m} are in the wrong order');
    this.#index += counted[0].length;
    return { min, max };
  }

  #atom(depth: number): PatternNode {
    const character = this.#next();
    switch (character) {
      case '.':
        return { kind: 'character', test: () => true };
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '(':
        return this.#group(depth);
      case '[': {
        const { test, length } = classTest(this.#text.slice(this.#index), this.#ignoreCase, (why) =>
          this.#bad(why),
        );
        this.#index += length;
        return { kind: 'character', test };
      }
      case '\\':
        return this.#escape();
      case '*':
      case '+':
      case '?':
        throw this.#bad(`${character} has nothing to repeat`);
      default:
        return this.#literal(character);
    }
  }

  #group(depth: number): PatternNode {
    const flags = /^\?(i|s|is|si)([:)])/.exec(this.#text.slice(this.#index));
    const named = /^\?(?:(:)|P?<(\w+)>)/.exec(this.#text.slice(this.#index));
    if (flags === null && named === null && this.#peek() === '?') {
      throw this.#bad('of the (?…) groups only (?:…), (?P<name>…), (?i) and (?s) are known');
    }
    this.#index += (flags ?? named)?.[0].length ?? 0;
    const caseBefore = this.#ignoreCase;
    if (flags?.[1]?.includes('i')) this.#ignoreCase = true;
    // `(?i)` without a colon holds until the end of the group around it.
    if (flags?.[2] === ')') return { kind: 'empty' };
    const capturing = flags === null && named?.[1] === undefined;
    const index = capturing ? ++this.groups : 0;
    if (named?.[2] !== undefined) this.names.set(named[2], index);
    const inner = this.choice(depth + 1);
    this.#ignoreCase = caseBefore;
    if (!this.#take(')')) throw this.#bad('missing )');
    return capturing ? { kind: 'group', index, inner } : inner;
  }

  #escape(): PatternNode {
    if (this.atEnd) throw this.#bad('it ends with a backslash');
    const rest = this.#text.slice(this.#index);
    const test = escapeTest(rest[0] ?? '');
    if (test !== undefined) {
      this.#index++;
      return { kind: 'character', test };
    }
    if (rest[0] === 'A' || rest[0] === 'z') {
      this.#index++;
      return { kind: rest[0] === 'A' ? 'start' : 'end' };
    }
    const literal = literalEscape(rest, (why) => this.#bad(why));
    this.#index += literal.length;
    return this.#literal(String.fromCodePoint(literal.code));
  }

  #literal(character: string): PatternNode {
    const code = character.codePointAt(0) ?? 0;
    if (!this.#ignoreCase) return { kind: 'character', test: (c) => c === code };
    const codes = new Set([
      code,
      ...[character.toLowerCase(), character.toUpperCase()].map((c) => c.codePointAt(0) ?? 0),
    ]);
    return { kind: 'character', test: (c) => codes.has(c) };
  }

  #peek(): string | undefined {
    return this.#text[this.#index];
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#index++;
    return true;
  }

  #next(): string {
    const code = this.#text.codePointAt(this.#index) ?? 0;
    const character = String.fromCodePoint(code);
    this.#index += character.length;
    return character;
  }

  #bad(why: string): MonitoringError {
    return bad(this.#text, this.#index, why);
  }
}
