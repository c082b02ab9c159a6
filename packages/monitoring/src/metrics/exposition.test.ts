import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writeExposition } from './exposition.ts';
import { parseExposition } from './exposition-parse.ts';
import { labelKey } from './labels.ts';

describe('exposition', () => {
  it('writes what it can read back, whatever the label values', () => {
    const labels = fc.dictionary(
      fc.constantFrom('a', 'b', 'c', 'path'),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }),
    );
    const value = fc.oneof(fc.double(), fc.constantFrom(Infinity, -Infinity, NaN, 0, 1e21, 5e-324));
    fc.assert(
      fc.property(fc.uniqueArray(labels, { selector: labelKey, maxLength: 5 }), value, (sets, number) => {
        // Lines end at \n only; a carriage return at the end of a line would be trimmed with it.
        const samples = sets.map((set) => ({
          labels: { ...set, __name__: 'metric_total' },
          at: 7,
          value: number,
        }));
        const page = writeExposition(
          samples,
          new Map([['metric_total', { type: 'counter', help: 'a\\b\nc', unit: '' }]]),
        );
        const back = parseExposition(page, 7);
        expect(back.samples.map((s) => labelKey(s.labels)).sort()).toEqual(
          samples.map((s) => labelKey(s.labels)).sort(),
        );
        for (const sample of back.samples) expect(sample.value === number || Number.isNaN(number)).toBe(true);
        if (samples.length > 0) expect(back.metadata.get('metric_total')?.help).toBe('a\\b\nc');
      }),
    );
  });

  it('keeps the series of a histogram together and in order', () => {
    const at = 1;
    const sample = (name: string, value: number, le?: string) => ({
      labels: { __name__: name, ...(le === undefined ? {} : { le }) },
      at,
      value,
    });
    const text = writeExposition(
      [
        sample('d_sum', 3),
        sample('d_bucket', 4, '+Inf'),
        sample('d_bucket', 1, '10'),
        sample('d_bucket', 1, '2'),
        sample('d_count', 4),
      ],
      new Map([['d', { type: 'histogram', help: 'Durations.', unit: '' }]]),
    );
    expect(text).toBe(
      '# HELP d Durations.\n# TYPE d histogram\nd_bucket{le="2"} 1\nd_bucket{le="10"} 1\nd_bucket{le="+Inf"} 4\nd_count 4\nd_sum 3\n',
    );
  });

  it.each([
    ['x{a="b} 1', 'line 1'],
    ['ok 1\nx{a="b" c="d"} 1', 'line 2'],
    ['x abc', 'not a number'],
    ['1x 3', 'metric name'],
    ['x 1 2 3', 'time'],
  ])('refuses %s', (page, why) => {
    expect(() => parseExposition(page, 0)).toThrow(why);
  });

  it('keeps labels of the page that the scrape also sets', () => {
    const [sample] = parseExposition('x{instance="a"} 1', 5, { instance: 'host:1' }).samples;
    expect(sample?.labels).toEqual({ __name__: 'x', instance: 'host:1', exported_instance: 'a' });
  });
});
