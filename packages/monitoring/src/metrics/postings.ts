// Which series have which label: the index behind every selector.

import type { Labels } from './labels.ts';
import { type CompiledMatcher, compileMatcher, type Matcher } from './matcher.ts';

/** Something with labels. */
interface Labelled {
  readonly labels: Labels;
}

/** label name -> label value -> the series that have it. */
export class Postings<S extends Labelled> {
  readonly #byName = new Map<string, Map<string, Set<S>>>();
  readonly #all = new Set<S>();

  get size(): number {
    return this.#all.size;
  }

  add(series: S): void {
    this.#all.add(series);
    for (const [name, value] of Object.entries(series.labels)) {
      let values = this.#byName.get(name);
      if (values === undefined) {
        values = new Map();
        this.#byName.set(name, values);
      }
      const set = values.get(value);
      if (set === undefined) values.set(value, new Set([series]));
      else set.add(series);
    }
  }

  remove(series: S): void {
    this.#all.delete(series);
    for (const [name, value] of Object.entries(series.labels)) {
      const values = this.#byName.get(name);
      const set = values?.get(value);
      set?.delete(series);
      if (set?.size === 0) values?.delete(value);
      if (values?.size === 0) this.#byName.delete(name);
    }
  }

  /** All label names, sorted. */
  names(): string[] {
    return [...this.#byName.keys()].sort();
  }

  /** All values of a label, sorted. */
  values(name: string): string[] {
    return [...(this.#byName.get(name)?.keys() ?? [])].sort();
  }

  /** The series that all matchers accept. Throws `INVALID_QUERY` for a broken regular expression. */
  select(matchers: readonly Matcher[]): S[] {
    const compiled = matchers.map((matcher) => remember(compileMatcher(matcher)));
    let candidates: Iterable<S> = this.#all;
    let smallest = this.#all.size;
    for (const matcher of compiled) {
      // Only a positive match on a non-empty value excludes the series without the label.
      if (matcher.operator !== '=' || matcher.value === '') continue;
      const set = this.#byName.get(matcher.name)?.get(matcher.value);
      if (set === undefined) return [];
      if (set.size <= smallest) {
        smallest = set.size;
        candidates = set;
      }
    }
    const out: S[] = [];
    for (const series of candidates) {
      if (compiled.every((matcher) => matcher.matches(series.labels[matcher.name] ?? ''))) out.push(series);
    }
    return out;
  }
}

/** A pattern is asked once per value, however many series share the value. */
function remember(matcher: CompiledMatcher): CompiledMatcher {
  if (matcher.operator === '=' || matcher.operator === '!=') return matcher;
  const known = new Map<string, boolean>();
  return {
    ...matcher,
    matches(value) {
      let answer = known.get(value);
      if (answer === undefined) {
        answer = matcher.matches(value);
        known.set(value, answer);
      }
      return answer;
    },
  };
}
