// Fair side-by-side measurement: contenders take turns in every round, so that a noisy moment hits them all alike.

import { writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';

/** One side of a comparison. */
export interface Contender {
  /** `heptad`, or the peer's name. */
  readonly who: string;
  /**
   * Does the work once, checks that it was really done (and throws when not), and returns the figure: one number, or
   * many samples of one turn.
   */
  readonly once: () => Promise<number | readonly number[]>;
}

/** What is compared. */
export interface Comparison {
  readonly case: string;
  /** What the figure is: `time`, `throughput`. */
  readonly metric: string;
  readonly unit: string;
  readonly contenders: readonly Contender[];
  /** Rounds that count. Default 20. */
  readonly rounds?: number;
  /** Rounds before that, which do not. Default 2. */
  readonly warmUpRounds?: number;
}

/** One line of the table. */
export interface Row {
  readonly case: string;
  readonly who: string;
  readonly metric: string;
  readonly unit: string;
  readonly median: number;
  readonly p99: number;
  readonly n: number;
}

/** Heptad's figure over a peer's, pair by pair; the median of the pairs. */
export interface Ratio {
  readonly case: string;
  readonly metric: string;
  readonly over: string;
  readonly median: number;
}

/** Lines and ratios of one or more comparisons. */
export interface Results {
  readonly rows: readonly Row[];
  readonly ratios: readonly Ratio[];
}

/** A benchmark: a file of `bench/src` exports one as `benchmark`. */
export interface Benchmark {
  readonly description: string;
  /** Measures; `versions` goes into the report beside the machine. Must remove whatever it made. */
  run(options: BenchmarkOptions): Promise<Results & { readonly versions: Readonly<Record<string, string>> }>;
}

/** What the command line asks for. */
export interface BenchmarkOptions {
  /** Fewer rounds, for trying it out. */
  readonly quick: boolean;
  /** Says what goes on, on stderr. */
  readonly say: (message: string) => void;
}

/** Runs a comparison. The order within a round changes from round to round. */
export async function compare(comparison: Comparison, options: BenchmarkOptions): Promise<Results> {
  const rounds = options.quick ? 5 : (comparison.rounds ?? 20);
  const warmUp = options.quick ? 1 : (comparison.warmUpRounds ?? 2);
  const { contenders } = comparison;
  const turns = new Map<string, number[][]>(contenders.map(({ who }) => [who, []]));
  options.say(
    `${comparison.case}: ${warmUp} + ${rounds} rounds of ${contenders.map(({ who }) => who).join(', ')}`,
  );
  for (let round = -warmUp; round < rounds; round += 1) {
    for (let place = 0; place < contenders.length; place += 1) {
      const contender = contenders[(place + round + warmUp) % contenders.length];
      if (contender === undefined) continue;
      const figure = await contender.once();
      if (round >= 0) turns.get(contender.who)?.push(typeof figure === 'number' ? [figure] : [...figure]);
    }
  }
  return { rows: rowsOf(comparison, turns), ratios: ratiosOf(comparison, turns) };
}

function rowsOf(comparison: Comparison, turns: ReadonlyMap<string, number[][]>): Row[] {
  return comparison.contenders.map(({ who }) => {
    const figures = (turns.get(who) ?? []).flat();
    return {
      case: comparison.case,
      who,
      metric: comparison.metric,
      unit: comparison.unit,
      median: quantile(figures, 0.5),
      p99: quantile(figures, 0.99),
      n: figures.length,
    };
  });
}

function ratiosOf(comparison: Comparison, turns: ReadonlyMap<string, number[][]>): Ratio[] {
  const ours = turns.get('heptad');
  if (ours === undefined) return [];
  return comparison.contenders
    .filter(({ who }) => who !== 'heptad')
    .map(({ who }) => {
      const theirs = turns.get(who) ?? [];
      const pairs = ours.map((turn, round) => quantile(turn, 0.5) / quantile(theirs[round] ?? [], 0.5));
      return { case: comparison.case, metric: comparison.metric, over: who, median: quantile(pairs, 0.5) };
    });
}

/** The value below which the given part of the figures lies (nearest rank). NaN without figures. */
export function quantile(figures: readonly number[], part: number): number {
  const sorted = [...figures].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** The report as it is written to a file. */
export interface Report extends Results {
  readonly name: string;
  readonly date: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly kernel: string;
    readonly versions: Readonly<Record<string, string>>;
  };
}

/** Puts results, machine and versions together. */
export function report(
  name: string,
  results: Results & { readonly versions: Readonly<Record<string, string>> },
): Report {
  return {
    name,
    date: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
      kernel: release(),
      versions: { node: process.version, ...results.versions },
    },
    rows: results.rows,
    ratios: results.ratios,
  };
}

/** The report as a table for people. */
export function formatReport(whole: Report): string {
  const figure = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
  const rows = whole.rows.map((row) => [
    row.case,
    row.who,
    `${figure(row.median)} ${row.unit}`,
    `${figure(row.p99)} ${row.unit}`,
    String(row.n),
    whole.ratios
      .find(({ case: name, over, metric }) => name === row.case && over === row.who && metric === row.metric)
      ?.median.toFixed(2) ?? '',
  ]);
  const table = [['case', 'who', 'median', 'p99', 'n', 'heptad / it'], ...rows];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0))) ?? [];
  const lines = table.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const { machine } = whole;
  const versions = Object.entries(machine.versions)
    .map(([what, version]) => `${what} ${version}`)
    .join(', ');
  return [...lines, '', `${machine.cores} x ${machine.cpu}, Linux ${machine.kernel}; ${versions}`].join('\n');
}

/** Writes the report as JSON. */
export async function writeReport(path: string, whole: Report): Promise<void> {
  await writeFile(path, `${JSON.stringify(whole, null, 2)}\n`);
}
