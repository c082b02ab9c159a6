// Derived label sets and keys, computed once per series instead of once per series and step.

import { type Labels, labelKey, METRIC_NAME, onlyLabels, withoutLabels } from '../metrics/labels.ts';

const NAME_ONLY: ReadonlySet<string> = new Set([METRIC_NAME]);

/** Remembers what was derived from a label set for as long as that set lives. */
export class LabelCache {
  readonly #keys = new WeakMap<Labels, string>();
  readonly #nameless = new WeakMap<Labels, Labels>();
  readonly #grouped = new Map<object, WeakMap<Labels, Labels>>();

  /** {@link labelKey}, remembered. */
  key(labels: Labels): string {
    let key = this.#keys.get(labels);
    if (key === undefined) {
      key = labelKey(labels);
      this.#keys.set(labels, key);
    }
    return key;
  }

  /** The labels without the metric's name. */
  dropName(labels: Labels): Labels {
    if (labels[METRIC_NAME] === undefined) return labels;
    let out = this.#nameless.get(labels);
    if (out === undefined) {
      out = withoutLabels(labels, NAME_ONLY);
      this.#nameless.set(labels, out);
    }
    return out;
  }

  /** The labels that `by (...)` / `on (...)` keeps, or that `without (...)` / `ignoring (...)` leaves. */
  group(owner: object, labels: Labels, names: readonly string[], keep: boolean): Labels {
    let known = this.#grouped.get(owner);
    if (known === undefined) {
      known = new WeakMap();
      this.#grouped.set(owner, known);
    }
    let out = known.get(labels);
    if (out === undefined) {
      out = keep ? onlyLabels(labels, names) : withoutLabels(labels, new Set([...names, METRIC_NAME]));
      known.set(labels, out);
    }
    return out;
  }
}
