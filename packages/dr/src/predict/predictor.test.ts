import { describe, expect, it } from 'vitest';
import committed from './model.json' with { type: 'json' };
import { FailoverPredictor, parseFailoverModel } from './predictor.ts';

function feed(shape: (i: number) => { latencyMs: number; load: number; errorRate: number }, count = 60) {
  const predictor = new FailoverPredictor();
  let last = predictor.predict();
  for (let i = 0; i < count; i += 1) last = predictor.observe({ at: i * 2000, ...shape(i) });
  return last;
}

describe('FailoverPredictor', () => {
  it('leaves a calm centre alone', () => {
    const last = feed((i) => ({ latencyMs: 20 + (i % 3), load: 0.4, errorRate: 0.0005 }));
    expect(last.probability).toBeLessThan(0.1);
    expect(last.switchAdvised).toBe(false);
  });

  it('advises to switch when latency, load and errors climb together', () => {
    const last = feed((i) => {
      const bad = Math.max(0, i - 20) / 40;
      return { latencyMs: 20 + 600 * bad ** 2, load: 0.4 + 0.6 * bad, errorRate: 0.25 * bad };
    });
    expect(last.probability).toBeGreaterThan(0.8);
    expect(last.switchAdvised).toBe(true);
  });

  it('does not switch on one strange sample', () => {
    const last = feed((i) =>
      i === 59 ? { latencyMs: 3000, load: 1, errorRate: 0.5 } : { latencyMs: 20, load: 0.4, errorRate: 0 },
    );
    expect(last.switchAdvised).toBe(false);
  });

  it('says when it cannot know yet, and refuses nonsense', () => {
    expect(feed(() => ({ latencyMs: 1, load: 1, errorRate: 0 }), 3).because).toContain('no prediction yet');
    const predictor = new FailoverPredictor();
    expect(() => predictor.observe({ at: 0, latencyMs: Number.NaN, load: 0, errorRate: 0 })).toThrow(
      'finite',
    );
    expect(() => parseFailoverModel({ ...committed, features: ['other'] })).toThrow(
      'trained on the features other',
    );
  });
});
