// Scraping: fetches Prometheus text pages and turns them into samples, `up` included.

import { type Clock, errorMessage } from '@heptad/core';
import { MonitoringError } from './errors.ts';
import { parseExposition } from './metrics/exposition-parse.ts';
import { type Labels, labelKey, METRIC_NAME } from './metrics/labels.ts';
import { STALE_NAN } from './metrics/stale.ts';
import type { MetricStore } from './metrics/store.ts';
import type { Sample } from './metrics/store-types.ts';

/** Largest page: a page of 50,000 series has about 5 MB. */
const MAX_PAGE_BYTES = 16 * 1024 * 1024;
/** Prometheus' default. */
const DEFAULT_TIMEOUT_MS = 10_000;

/** What a scrape found. */
export interface ScrapeResult {
  readonly up: boolean;
  readonly samples: number;
  readonly rejected: number;
  readonly durationMs: number;
  /** Why the target is not up. */
  readonly error?: string;
}

/** Options of {@link Scraper.scrape}. */
export interface ScrapeOptions {
  /** Labels put on every sample; `instance` is the URL's host and port unless it is given. */
  readonly labels?: Labels;
  /** Default 10,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Scrapes targets into a store and remembers what each last showed, so that what vanishes is marked stale. */
export class Scraper {
  readonly #store: MetricStore;
  readonly #clock: Clock;
  readonly #shown = new Map<string, ReadonlyMap<string, Labels>>();

  constructor(store: MetricStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /**
   * Scrapes one target. A target that cannot be reached is no error here: `up` becomes 0, its series end, and the
   * result says why. Throws `INVALID_ARGUMENT` for what is not an HTTP URL, `WRITE_FAILED`.
   */
  async scrape(url: string, options: ScrapeOptions = {}): Promise<ScrapeResult> {
    const target = parseUrl(url);
    const labels = { instance: target.host, ...options.labels };
    const begin = this.#clock.monotonicMs();
    const at = this.#clock.now();
    let samples: Sample[] = [];
    let error: string | undefined;
    try {
      const page = await this.#fetch(target, options);
      const exposition = parseExposition(page, at, labels);
      samples = exposition.samples;
      for (const [name, metadata] of exposition.metadata) this.#store.describe(name, metadata);
    } catch (caught) {
      error = errorMessage(caught);
    }
    const durationMs = this.#clock.monotonicMs() - begin;
    const stale = this.#vanished(`${url} ${labelKey(labels)}`, samples);
    const own = [
      { labels: { ...labels, [METRIC_NAME]: 'up' }, at, value: error === undefined ? 1 : 0 },
      { labels: { ...labels, [METRIC_NAME]: 'scrape_duration_seconds' }, at, value: durationMs / 1000 },
      { labels: { ...labels, [METRIC_NAME]: 'scrape_samples_scraped' }, at, value: samples.length },
    ];
    const ended = stale.map((gone) => ({ labels: gone, at, value: STALE_NAN }));
    const { rejected } = await this.#store.append([...samples, ...ended, ...own]);
    return {
      up: error === undefined,
      samples: samples.length,
      rejected: rejected.length,
      durationMs,
      ...(error === undefined ? {} : { error }),
    };
  }

  #vanished(target: string, samples: readonly Sample[]): Labels[] {
    const now = new Map(samples.map((sample) => [labelKey(sample.labels), sample.labels]));
    const before = this.#shown.get(target) ?? new Map<string, Labels>();
    this.#shown.set(target, now);
    return [...before].filter(([key]) => !now.has(key)).map(([, labels]) => labels);
  }

  async #fetch(url: URL, options: ScrapeOptions): Promise<string> {
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const timeout = new AbortController();
    const timer = this.#clock.timer(timeoutMs, () =>
      timeout.abort(new Error(`no answer within ${timeoutMs} ms`)),
    );
    try {
      const signals = options.signal === undefined ? [timeout.signal] : [timeout.signal, options.signal];
      const response = await fetch(url, {
        headers: { accept: 'text/plain;version=0.0.4' },
        signal: AbortSignal.any(signals),
      });
      if (!response.ok) throw new Error(`it answered ${response.status}`);
      return await readBounded(response);
    } catch (error) {
      const cause =
        error instanceof Error && error.cause !== undefined ? `: ${errorMessage(error.cause)}` : '';
      throw new Error(`${errorMessage(error)}${cause}`);
    } finally {
      timer.cancel();
    }
  }
}

function parseUrl(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed !== undefined && /^https?:$/.test(parsed.protocol)) return parsed;
  throw new MonitoringError('INVALID_ARGUMENT', `cannot scrape "${url}": it is not an http or https URL`);
}

async function readBounded(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_PAGE_BYTES) throw new Error(`its page is over ${MAX_PAGE_BYTES} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
