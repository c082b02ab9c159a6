// Trains the failover model on simulated incidents and prints how it does on incidents it has never seen.
// Run: node --conditions=heptad-source packages/dr/tools/train-predictor.ts [--seed N] [--episodes N] [--out FILE]

import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import type { Random } from '@heptad/core';
import { FEATURE_NAMES, featuresOf, MIN_SAMPLES, WINDOW_SAMPLES } from '../src/predict/features.ts';
import { drawEpisode, EPISODE_KINDS, type Episode, HORIZON_MS } from '../src/predict/incidents.ts';
import { type Example, evaluate, fitLogistic, type LogisticModel, score } from '../src/predict/logistic.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '20261121' },
    episodes: { type: 'string', default: '2000' },
    out: { type: 'string', default: new URL('../src/predict/model.json', import.meta.url).pathname },
  },
});
const seed = Number(values.seed);
const episodeCount = Number(values.episodes);
const THRESHOLD = 0.8;
const CONFIRMATIONS = 3;

// mulberry32: 32 bits of state are plenty for drawing episodes, and the same seed gives the same model anywhere.
function seededRandom(state: number): Pick<Random, 'next' | 'integer'> {
  let current = state >>> 0;
  const next = (): number => {
    current = (current + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(current ^ (current >>> 15), 1 | current);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { next, integer: (bound) => Math.floor(next() * bound) };
}

function examplesOf(episode: Episode): Example[] {
  const examples: Example[] = [];
  // Every third window: neighbours are nearly the same and would only pretend to be more data.
  for (let end = MIN_SAMPLES; end <= episode.samples.length; end += 3) {
    const window = episode.samples.slice(Math.max(0, end - WINDOW_SAMPLES), end);
    const at = window.at(-1)?.at ?? 0;
    const label = episode.failedAt !== undefined && episode.failedAt - at <= HORIZON_MS ? 1 : 0;
    examples.push({ features: featuresOf(window), label });
  }
  return examples;
}

// What a user would live through: was a failure announced in time, was a switch made for nothing?
function liveThrough(model: LogisticModel, episode: Episode): { advisedAt?: number } {
  let above = 0;
  for (let end = MIN_SAMPLES; end <= episode.samples.length; end += 1) {
    const window = episode.samples.slice(Math.max(0, end - WINDOW_SAMPLES), end);
    above = score(model, featuresOf(window)).probability > THRESHOLD ? above + 1 : 0;
    if (above >= CONFIRMATIONS) return { advisedAt: window.at(-1)?.at ?? 0 };
  }
  return {};
}

const random = seededRandom(seed) as Random;
const kinds = ['calm', 'calm', 'calm', ...EPISODE_KINDS, 'load-burst', 'error-blip'] as const;
const episodes = Array.from({ length: episodeCount }, () =>
  drawEpisode(random, kinds[random.integer(kinds.length)] ?? 'calm'),
);
// A temporal split by whole episodes: no window of a held-out episode has a neighbour in training.
const cut = Math.floor(episodes.length * 0.7);
const training = episodes.slice(0, cut).flatMap(examplesOf);
const held = episodes.slice(cut);
const heldExamples = held.flatMap(examplesOf);

const model = fitLogistic(training, FEATURE_NAMES);
const windows = evaluate(model, heldExamples, THRESHOLD);

const byKind = EPISODE_KINDS.map((kind) => {
  const own = held.filter((episode) => episode.kind === kind);
  const lived = own.map((episode) => ({ episode, ...liveThrough(model, episode) }));
  const failing = lived.filter(({ episode }) => episode.failedAt !== undefined);
  const announced = failing.filter(({ advisedAt }) => advisedAt !== undefined);
  const leads = announced
    .map(({ episode, advisedAt }) => ((episode.failedAt ?? 0) - (advisedAt ?? 0)) / 1000)
    .sort((a, b) => a - b);
  const fine = lived.filter(({ episode }) => episode.failedAt === undefined);
  return {
    kind,
    failing: failing.length,
    announced: announced.length,
    medianLeadSeconds: leads[Math.floor(leads.length / 2)] ?? null,
    healthy: fine.length,
    switchedForNothing: fine.filter(({ advisedAt }) => advisedAt !== undefined).length,
  };
});
const total = byKind.reduce(
  (sum, row) => ({
    failing: sum.failing + row.failing,
    announced: sum.announced + row.announced,
    switchedForNothing: sum.switchedForNothing + row.switchedForNothing,
  }),
  { failing: 0, announced: 0, switchedForNothing: 0 },
);
const incidents = {
  recall: total.announced / total.failing,
  precision: total.announced / (total.announced + total.switchedForNothing),
};

const round = (value: number): number => Number(value.toFixed(4));
const file = {
  format: 'heptad-failover-model/1',
  ...model,
  mean: model.mean.map(round),
  deviation: model.deviation.map(round),
  weights: model.weights.map(round),
  bias: round(model.bias),
  provenance: {
    seed,
    trainedOn: `${cut} simulated episodes, ${training.length} windows; held out the later ${held.length} episodes, ${heldExamples.length} windows`,
    heldOut: {
      threshold: THRESHOLD,
      precision: round(windows.precision),
      recall: round(windows.recall),
      falsePositiveRate: round(windows.falsePositiveRate),
      brier: round(windows.brier),
      incidentPrecision: round(incidents.precision),
      incidentRecall: round(incidents.recall),
    },
  },
};
await writeFile(values.out, `${JSON.stringify(file, null, 2)}\n`);

process.stdout.write(
  [
    `trained on ${training.length} windows of ${cut} episodes, judged on ${heldExamples.length} windows of ${held.length} later episodes (seed ${seed})`,
    `windows  at ${THRESHOLD}: precision ${windows.precision.toFixed(3)}  recall ${windows.recall.toFixed(3)}  false positives ${(windows.falsePositiveRate * 100).toFixed(2)} %  Brier ${windows.brier.toFixed(4)} (base rate ${(windows.positives / windows.examples).toFixed(3)})`,
    `incidents (${CONFIRMATIONS} in a row above ${THRESHOLD}): precision ${incidents.precision.toFixed(3)}  recall ${incidents.recall.toFixed(3)}`,
    '',
    'kind              failing announced  median lead  healthy  switched for nothing',
    ...byKind.map(
      (row) =>
        `${row.kind.padEnd(18)}${String(row.failing).padStart(6)}${String(row.announced).padStart(10)}${(row.medianLeadSeconds === null ? '-' : `${row.medianLeadSeconds} s`).padStart(13)}${String(row.healthy).padStart(9)}${String(row.switchedForNothing).padStart(22)}`,
    ),
    '',
    `written to ${values.out}`,
    '',
  ].join('\n'),
);
