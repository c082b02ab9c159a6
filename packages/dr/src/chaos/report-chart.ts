// The chart of a report: latency of every look over time, failures as marks, faults as shaded spans.

import type { ExperimentReport, ProbeSample } from './report.ts';

const WIDTH = 960;
const HEIGHT = 260;
const LEFT = 56;
const RIGHT = 12;
const TOP = 22;
const BOTTOM = 34;
/** Points drawn; more than the pixels there are only make the file larger. */
const MAX_POINTS = 900;

function niceStep(range: number, parts: number): number {
  const rough = range / parts;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= rough) ?? 10;
  return factor * power;
}

// Keeps the slowest look of each bucket and every failure: what matters must survive thinning.
function thin(samples: readonly ProbeSample[]): readonly ProbeSample[] {
  if (samples.length <= MAX_POINTS) return samples;
  const size = Math.ceil(samples.length / MAX_POINTS);
  const kept: ProbeSample[] = [];
  for (let i = 0; i < samples.length; i += size) {
    const bucket = samples.slice(i, i + size);
    const worst = bucket.reduce((a, b) => (b.latencyMs > a.latencyMs ? b : a));
    kept.push(bucket.find(({ ok }) => !ok) ?? worst);
  }
  return kept;
}

/** Draws the chart as an SVG element. Pure. */
export function drawChart(report: ExperimentReport): string {
  const samples = thin(report.samples);
  const endMs = Math.max(1, report.durationMs);
  const latencies = samples.filter(({ ok }) => ok).map(({ latencyMs }) => latencyMs);
  const topMs = Math.max(1, ...latencies) * 1.1;
  const x = (ms: number): number => LEFT + (Math.min(ms, endMs) / endMs) * (WIDTH - LEFT - RIGHT);
  const y = (ms: number): number => HEIGHT - BOTTOM - (Math.min(ms, topMs) / topMs) * (HEIGHT - TOP - BOTTOM);
  const spans = report.scenarios.map((scenario) => {
    const from = x(scenario.startedAtMs);
    const width = Math.max(1.5, x(scenario.endedAtMs) - from);
    return `<rect x="${from.toFixed(1)}" y="${TOP}" width="${width.toFixed(1)}" height="${HEIGHT - TOP - BOTTOM}" fill="var(--fault)"/><text x="${from.toFixed(1)}" y="${TOP - 7}">${scenario.type}</text>`;
  });
  const points = samples
    .filter(({ ok }) => ok)
    .map((sample) => `${x(sample.atMs).toFixed(1)},${y(sample.latencyMs).toFixed(1)}`);
  const failures = samples
    .filter(({ ok }) => !ok)
    .map(
      ({ atMs }) =>
        `<path d="M${x(atMs).toFixed(1)} ${TOP}v${HEIGHT - TOP - BOTTOM}" stroke="var(--bad)" stroke-width="1.5"/>`,
    );
  const yStep = niceStep(topMs, 4);
  const grid: string[] = [];
  for (let ms = 0; ms <= topMs; ms += yStep) {
    const line = y(ms).toFixed(1);
    grid.push(
      `<path d="M${LEFT} ${line}H${WIDTH - RIGHT}" stroke="var(--line)"/><text x="${LEFT - 6}" y="${line}" dy="4" text-anchor="end">${Number(ms.toPrecision(3))}</text>`,
    );
  }
  const xStep = niceStep(endMs / 1000, 8);
  for (let s = 0; s * 1000 <= endMs; s += xStep) {
    grid.push(
      `<text x="${x(s * 1000).toFixed(1)}" y="${HEIGHT - 14}" text-anchor="middle">${Number(s.toPrecision(3))} s</text>`,
    );
  }
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Latency of each look over time; shaded: faults; red lines: failed looks">${spans.join('')}${grid.join('')}${failures.join('')}<polyline points="${points.join(' ')}" fill="none" stroke="var(--accent)" stroke-width="1.4" stroke-linejoin="round"/><text x="4" y="${TOP - 7}">ms</text></svg>`;
}
