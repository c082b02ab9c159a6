// The `filters` parameter of Docker's lists: a JSON object of allowed values by name.

import { z } from 'zod';
import { ContainerError } from '../errors.ts';

const schema = z.record(z.string(), z.union([z.array(z.string()), z.record(z.string(), z.boolean())]));

/** What a list is narrowed by. */
export class Filters {
  private readonly values: ReadonlyMap<string, readonly string[]>;

  private constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.values = values;
  }

  /**
   * Reads the parameter; null or empty lets everything through. `known` are the names that the list understands.
   * Throws `INVALID_ARGUMENT` for one it does not, because ignoring it would show, or delete, too much.
   */
  static parse(text: string | null, known: readonly string[]): Filters {
    let json: unknown = {};
    try {
      if (text !== null && text !== '') json = JSON.parse(text);
    } catch (cause) {
      throw new ContainerError('INVALID_ARGUMENT', 'the filters are not JSON', { cause });
    }
    const parsed = schema.safeParse(json);
    if (!parsed.success) throw new ContainerError('INVALID_ARGUMENT', 'the filters are not lists by name');
    const values = new Map<string, readonly string[]>();
    for (const [name, value] of Object.entries(parsed.data)) {
      if (!known.includes(name)) {
        throw new ContainerError('INVALID_ARGUMENT', `invalid filter "${name}"`, {
          hint: `the filters here are ${known.join(', ')}`,
        });
      }
      // Old clients send {"name": {"value": true}}.
      values.set(
        name,
        Array.isArray(value) ? value : Object.keys(value).filter((key) => value[key] === true),
      );
    }
    return new Filters(values);
  }

  /** The values of a filter. */
  get(name: string): readonly string[] {
    return this.values.get(name) ?? [];
  }

  /** Whether a filter is absent, or one of its values satisfies the test. */
  any(name: string, test: (value: string) => boolean): boolean {
    const values = this.get(name);
    return values.length === 0 || values.some(test);
  }

  /** Whether all the labels asked for (`name` or `name=value`) are there. */
  labels(labels: Readonly<Record<string, string>>): boolean {
    return this.get('label').every((wanted) => matchesLabel(labels, wanted));
  }

  /** A filter that is a truth value. */
  flag(name: string, byDefault: boolean): boolean {
    const [value] = this.get(name);
    return value === undefined ? byDefault : truthy(value);
  }
}

/** Whether labels have `name`, or `name=value`. */
export function matchesLabel(labels: Readonly<Record<string, string>>, wanted: string): boolean {
  const equals = wanted.indexOf('=');
  if (equals < 0) return labels[wanted] !== undefined;
  return labels[wanted.slice(0, equals)] === wanted.slice(equals + 1);
}

/** Go's idea of true in a query: anything but these. */
export function truthy(text: string): boolean {
  return !['', '0', 'no', 'false', 'none'].includes(text.toLowerCase().trim());
}
