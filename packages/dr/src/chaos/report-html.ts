// The experiment's report as one HTML page: no script, no other file, charts as inline SVG.

import type { ExperimentReport, MetricOutcome, ProbeSummary, ScenarioOutcome } from './report.ts';
import { drawChart } from './report-chart.ts';

const STYLE = `
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6470;--line:#d5dae1;--page:#fff;--card:#f6f8fa;--good:#1a7f4b;--bad:#c02f2f;--unsure:#9a6a00;--accent:#2f6fd0;--fault:#c02f2f1f}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa4b2;--line:#323a45;--page:#12161b;--card:#1a2027;--good:#4cc38a;--bad:#ff7b72;--unsure:#e3b341;--accent:#6ea8fe;--fault:#ff7b7226}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2rem 1.25rem 4rem}h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}
.soft{color:var(--soft)}.verdict{display:flex;gap:1.25rem;align-items:center;margin:1.25rem 0;padding:1rem 1.25rem;background:var(--card);border-left:.4rem solid var(--unsure);border-radius:.4rem}
.passed{border-color:var(--good)}.failed{border-color:var(--bad)}.score{font-size:2.4rem;font-weight:650;line-height:1;min-width:4.5rem;text-align:center}.score small{display:block;font-size:.75rem;font-weight:400;color:var(--soft)}
.word{font-weight:650;text-transform:uppercase;letter-spacing:.04em}.good{color:var(--good)}.bad{color:var(--bad)}.unsure{color:var(--unsure)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .8rem .4rem 0;border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600;color:var(--soft);font-size:.85rem}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
svg{width:100%;height:auto;display:block;background:var(--card);border-radius:.4rem}svg text{fill:var(--soft);font:11px system-ui,sans-serif}
ol{list-style:none;margin:0;padding:0}li{display:grid;grid-template-columns:5.5rem 1fr;padding:.15rem 0}li time{color:var(--soft);font-variant-numeric:tabular-nums}
`.trim();

function escapeHtml(text: string): string {
  const names: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replaceAll(/[&<>"']/g, (sign) => names[sign] ?? sign);
}

function figure(value: number | null, unit = ''): string {
  if (value === null || !Number.isFinite(value)) return '–';
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 1 ? 1 : 4;
  return `${value.toFixed(digits)}${unit}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function mark(good: boolean, yes: string, no: string): string {
  return `<span class="${good ? 'good' : 'bad'}">${good ? '✓' : '✗'} ${good ? yes : no}</span>`;
}

function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  numeric: readonly number[] = [],
): string {
  const cell = (tag: string, text: string, index: number): string =>
    `<${tag}${numeric.includes(index) ? ' class="n"' : ''}>${text}</${tag}>`;
  const header = head.map((text, i) => cell('th', text, i)).join('');
  const body = rows.map((row) => `<tr>${row.map((text, i) => cell('td', text, i)).join('')}</tr>`).join('');
  return `<div class="wide"><table><thead><tr>${header}</tr></thead><tbody>${body}</tbody></table></div>`;
}

function scenarioRow(scenario: ScenarioOutcome): readonly string[] {
  const params = Object.entries(scenario.params)
    .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
    .join(', ');
  return [
    `<strong>${escapeHtml(scenario.type)}</strong> on ${escapeHtml(scenario.target)}<br><span class="soft">${escapeHtml(params)}</span>`,
    `${seconds(scenario.startedAtMs)} – ${seconds(scenario.endedAtMs)}`,
    `${mark(scenario.proof.proven, 'proven', 'not proven')}<br><span class="soft">${escapeHtml(scenario.proof.because)}</span>`,
    `${mark(scenario.removed, 'taken back', 'NOT taken back')}<br>${mark(scenario.recovered, 'target recovered', 'target did not recover')}${scenario.problem === undefined ? '' : `<br><span class="soft">${escapeHtml(scenario.problem)}</span>`}`,
  ];
}

function metricRow(metric: MetricOutcome): readonly string[] {
  return [
    `${escapeHtml(metric.name)}<br><span class="soft">${escapeHtml(metric.source)}</span>`,
    escapeHtml(metric.threshold),
    figure(metric.before),
    figure(metric.during),
    figure(metric.after),
    mark(metric.passed, 'kept', 'broken'),
  ];
}

function probeRow([phase, summary]: readonly [string, ProbeSummary]): readonly string[] {
  return [
    phase,
    String(summary.samples),
    String(summary.failures),
    figure(summary.latencyP50Ms, ' ms'),
    figure(summary.latencyP99Ms, ' ms'),
    figure(summary.longestOutageMs, ' ms'),
  ];
}

/**
 * Draws a report as one self-contained HTML page.
 *
 * @example
 * ```ts
 * import { type ExperimentReport, renderReportHtml } from '@heptad/dr/chaos';
 *
 * export function page(report: ExperimentReport): string {
 *   return renderReportHtml(report);
 * }
 * ```
 */
export function renderReportHtml(report: ExperimentReport): string {
  const word = report.verdict === 'passed' ? 'good' : report.verdict === 'failed' ? 'bad' : 'unsure';
  const timeline = report.timeline
    .map(
      (entry) =>
        `<li><time>${seconds(entry.atMs)}</time><span${entry.kind === 'problem' ? ' class="bad"' : ''}>${escapeHtml(entry.message)}</span></li>`,
    )
    .join('\n');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(report.name)} – resilience report</title><style>${STYLE}</style></head><body><main>
<h1>${escapeHtml(report.name)}</h1>
<div class="soft">Resilience report ${escapeHtml(report.id)}, ${escapeHtml(report.startedAt)}, ${seconds(report.durationMs)}, run ${report.status}</div>
<div class="verdict ${report.verdict}"><div class="score">${report.score ?? '–'}<small>of 100</small></div>
<div><span class="word ${word}">${report.verdict}</span><br>${escapeHtml(report.because)}</div></div>
<h2>What users saw</h2>
${drawChart(report)}
${table(['phase', 'looks', 'failed', 'latency p50', 'latency p99', 'longest outage'], Object.entries(report.probe).map(probeRow), [1, 2, 3, 4, 5])}
<h2>Faults</h2>
${table(['fault', 'when', 'was it really there?', 'afterwards'], report.scenarios.map(scenarioRow))}
<h2>Metrics</h2>
${table(['metric', 'threshold', 'before', 'worst during', 'after', ''], report.metrics.map(metricRow), [2, 3, 4])}
<h2>How the score comes about</h2>
${table(
  ['part', 'weight', 'value', 'evidence'],
  report.scoreParts.map((part) => [
    escapeHtml(part.name),
    String(part.weight),
    `${(part.value * 100).toFixed(1)} %`,
    escapeHtml(part.evidence),
  ]),
  [1, 2],
)}
<h2>Timeline</h2>
<ol>
${timeline}
</ol>
</main></body></html>
`;
}
