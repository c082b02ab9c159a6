// Simulated life of a centre: calm days, harmless bursts, and incidents of seven kinds, for training and judging.

import type { Random } from '@heptad/core';
import type { HealthSample } from './features.ts';

/** Time between two samples. */
export const SAMPLE_MS = 2000;
/** A window is positive when the centre fails within this time after it: long enough for a planned switchover. */
export const HORIZON_MS = 60_000;

/** What happens to the simulated centre in one episode. The first three end well. */
export const EPISODE_KINDS = [
  'calm',
  'load-burst',
  'error-blip',
  'memory-leak',
  'disk-degrading',
  'overload-spiral',
  'dependency-loss',
  'sudden-death',
] as const;
/** See {@link EPISODE_KINDS}. */
export type EpisodeKind = (typeof EPISODE_KINDS)[number];

/** One episode: samples, and when (if at all) the centre failed. */
export interface Episode {
  readonly kind: EpisodeKind;
  readonly samples: readonly HealthSample[];
  /** Milliseconds from the episode's start; undefined when it ended well. */
  readonly failedAt?: number;
}

// Approximately normal: the sum of uniform draws.
function noise(random: Random): number {
  let sum = -3;
  for (let i = 0; i < 6; i += 1) sum += random.next();
  return sum / Math.SQRT1_2;
}

interface Shape {
  readonly latency: number;
  readonly load: number;
  readonly error: number;
}

// How far each kind has bent latency (factor), load (added) and errors (added) at `progress` 0..1 of its course.
function shape(kind: EpisodeKind, progress: number): Shape {
  const late = Math.max(0, progress - 0.5) * 2;
  switch (kind) {
    case 'calm':
      return { latency: 1, load: 0, error: 0 };
    case 'load-burst': {
      // Up and down again: looks like the beginning of an overload, and is not.
      const hump = Math.sin(Math.PI * progress);
      return { latency: 1 + 2.5 * hump, load: 0.4 * hump, error: 0.004 * hump };
    }
    case 'error-blip':
      return { latency: 1.2, load: 0, error: progress > 0.4 && progress < 0.55 ? 0.06 : 0 };
    case 'memory-leak':
      // Garbage collection eats the machine slowly, then everything at once.
      return { latency: 1 + 6 * progress ** 3, load: 0.45 * progress, error: 0.08 * late ** 3 };
    case 'disk-degrading':
      return { latency: 1 + 12 * progress ** 2, load: 0.1 * progress, error: 0.05 * late ** 2 };
    case 'overload-spiral':
      return { latency: 1 + 20 * progress ** 4, load: 0.7 * progress, error: 0.3 * late ** 2 };
    case 'dependency-loss':
      return { latency: 1 + 4 * late, load: -0.1 * progress, error: 0.4 * late };
    case 'sudden-death':
      // A power cut announces nothing; a predictor that claims to see it coming is lying.
      return { latency: 1, load: 0, error: 0 };
  }
}

/** Draws one episode. Baselines differ from centre to centre, so that the model must learn change, not level. */
export function drawEpisode(random: Random, kind: EpisodeKind): Episode {
  const baseLatency = 10 ** (0.7 + 1.3 * random.next());
  const baseLoad = 0.15 + 0.45 * random.next();
  const quiet = 40 + random.integer(120);
  const course = kind === 'dependency-loss' ? 20 + random.integer(30) : 45 + random.integer(120);
  const fails = kind !== 'calm' && kind !== 'load-burst' && kind !== 'error-blip';
  // One incident in eight heals by itself half-way: operators and autoscalers exist.
  const heals = fails && kind !== 'sudden-death' && random.next() < 0.125;
  const end = heals ? Math.floor(course * (0.4 + 0.3 * random.next())) : course;
  const tail = fails && !heals ? 0 : 40;
  const samples: HealthSample[] = [];
  for (let i = 0; i < quiet + end + tail; i += 1) {
    const progress = i < quiet || i >= quiet + end ? 0 : (i - quiet) / course;
    const bend = shape(kind, progress);
    const spike = random.next() < 0.01 ? 1 + 4 * random.next() : 1;
    samples.push({
      at: i * SAMPLE_MS,
      latencyMs: baseLatency * bend.latency * spike * 10 ** (0.08 * noise(random)),
      load: Math.min(1.5, Math.max(0.02, baseLoad + bend.load + 0.04 * noise(random))),
      errorRate: Math.min(1, Math.max(0, bend.error * (1 + 0.4 * noise(random)) + 0.0008 * random.next())),
    });
  }
  return fails && !heals ? { kind, samples, failedAt: samples.length * SAMPLE_MS } : { kind, samples };
}
