// AlertManager: evaluates rules, keeps their alerts over restarts, tells people, archives what is over.

import { type Clock, errorMessage, type Random, systemClock, systemRandom, type Timer } from '@heptad/core';
import { MonitoringError } from '../errors.ts';
import { parsePromql } from '../query/parser.ts';
import type { Vector } from '../query/value.ts';
import { AlertArchive } from './archive.ts';
import { alertLabels, fingerprintOf, webhookPayload } from './identity.ts';
import { type Alert, type AlertRule, type AlertStep, beginAlert, nextAlert, renderSummary } from './state.ts';
import { type DeliveryOptions, type DeliveryReport, WebhookSender } from './webhook.ts';

/** Where the values of expressions come from: a {@link QueryEngine}, or a remote Prometheus. */
export interface VectorSource {
  vector(expression: string, at: number): Promise<Vector>;
}

/** Options of {@link AlertManager}. */
export interface AlertManagerOptions {
  readonly source: VectorSource;
  readonly rules?: readonly AlertRule[];
  /** Directory for `alerts.db`; it must exist. Default: memory only. */
  readonly directory?: string;
  /** Where to POST when a rule names no webhook of its own. */
  readonly webhook?: string;
  /** How often rules are evaluated, in milliseconds. Default 15,000; 0 means only by {@link AlertManager.evaluate}. */
  readonly intervalMs?: number;
  readonly delivery?: DeliveryOptions;
  /** Resolved alerts are kept this long, in milliseconds. Default 90 days. */
  readonly archiveMs?: number;
  readonly onDelivery?: (report: DeliveryReport) => void;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly fsync?: boolean;
}

/** How a rule's last evaluation went. */
export interface RuleStatus {
  readonly rule: AlertRule;
  readonly state: 'inactive' | 'pending' | 'firing';
  readonly lastEvaluatedAt?: number;
  /** Why the last evaluation failed; its alerts then stay as they were. */
  readonly error?: string;
}

const DEFAULT_INTERVAL_MS = 15_000;
const DEFAULT_ARCHIVE_MS = 90 * 24 * 60 * 60 * 1000;
const MAX_RULES = 1000;
/** More alerts of one rule at once is a rule without an aggregation. */
const MAX_ALERTS_PER_RULE = 1000;
const MAX_HISTORY = 1000;

/**
 * Turns expressions into alerts.
 *
 * @example
 * ```ts
 * import { AlertManager, MetricStore, QueryEngine } from '@heptad/monitoring';
 *
 * await using store = new MetricStore();
 * await using alerts = new AlertManager({
 *   source: new QueryEngine(store),
 *   intervalMs: 0,
 *   rules: [{ name: 'OrdersDown', expression: 'up{service="orders"} == 0', severity: 'critical' }],
 * });
 * await store.append([{ labels: { __name__: 'up', service: 'orders' }, at: Date.now(), value: 0 }]);
 * await alerts.evaluate();
 * console.log(alerts.alerts()[0]?.state); // firing
 * ```
 */
export class AlertManager implements AsyncDisposable {
  readonly #source: VectorSource;
  readonly #clock: Clock;
  readonly #webhook: string | undefined;
  readonly #archiveMs: number;
  readonly #archive: AlertArchive;
  readonly #sender: WebhookSender;
  readonly #rules = new Map<string, AlertRule>();
  readonly #open = new Map<string, Alert>();
  readonly #lastRun = new Map<string, { at: number; error?: string }>();
  readonly #timer: Timer | undefined;
  #evaluating: Promise<void> | undefined;
  #closed = false;

  constructor(options: AlertManagerOptions) {
    this.#source = options.source;
    this.#clock = options.clock ?? systemClock;
    this.#webhook = options.webhook;
    this.#archiveMs = options.archiveMs ?? DEFAULT_ARCHIVE_MS;
    this.#archive = new AlertArchive(options.directory, options.fsync ?? true);
    const ports = { clock: this.#clock, random: options.random ?? systemRandom };
    this.#sender = new WebhookSender(
      this.#archive,
      ports,
      options.delivery ?? {},
      options.onDelivery ?? (() => {}),
    );
    for (const rule of options.rules ?? []) this.addRule(rule);
    for (const alert of this.#archive.open()) this.#open.set(alert.fingerprint, alert);
    const interval = options.intervalMs ?? DEFAULT_INTERVAL_MS;
    if (interval > 0)
      this.#timer = this.#clock.interval(interval, () => void this.evaluate(), { unref: true });
    // What a former process could not deliver is still owed.
    this.#sender.wake();
  }

  /** Adds a rule, or replaces the one of that name. Throws `INVALID_QUERY`, `INVALID_ARGUMENT`. */
  addRule(rule: AlertRule): void {
    if (rule.name === '') throw new MonitoringError('INVALID_ARGUMENT', 'an alert rule needs a name');
    if (!this.#rules.has(rule.name) && this.#rules.size >= MAX_RULES) {
      throw new MonitoringError(
        'INVALID_ARGUMENT',
        `cannot add rule "${rule.name}": there are ${MAX_RULES} already`,
      );
    }
    if (rule.webhook !== undefined && !URL.canParse(rule.webhook)) {
      throw new MonitoringError(
        'INVALID_ARGUMENT',
        `the webhook of rule "${rule.name}" is not a URL: ${rule.webhook}`,
      );
    }
    parsePromql(rule.expression);
    this.#rules.set(rule.name, rule);
  }

  /** Removes a rule; its open alerts resolve at the next evaluation. Throws `NOT_FOUND`. */
  removeRule(name: string): void {
    if (!this.#rules.delete(name)) throw new MonitoringError('NOT_FOUND', `there is no alert rule "${name}"`);
    this.#lastRun.delete(name);
  }

  /** All rules with their state. */
  rules(): RuleStatus[] {
    return [...this.#rules.values()].map((rule) => {
      const alerts = [...this.#open.values()].filter((alert) => alert.rule === rule.name);
      const state = alerts.some((alert) => alert.state === 'firing')
        ? 'firing'
        : alerts.length > 0
          ? 'pending'
          : 'inactive';
      const last = this.#lastRun.get(rule.name);
      return {
        rule,
        state,
        ...(last === undefined ? {} : { lastEvaluatedAt: last.at }),
        ...(last?.error === undefined ? {} : { error: last.error }),
      };
    });
  }

  /** Pending and firing alerts, firing first, then the oldest first. */
  alerts(): Alert[] {
    return [...this.#open.values()].sort((a, b) => {
      if (a.state !== b.state) return a.state === 'firing' ? -1 : 1;
      return a.activeAt - b.activeAt;
    });
  }

  /** Resolved alerts, newest first. */
  history(
    query: {
      readonly rule?: string;
      readonly from?: number;
      readonly to?: number;
      readonly limit?: number;
    } = {},
  ): Alert[] {
    const limit = Math.min(MAX_HISTORY, Math.max(1, query.limit ?? 100));
    return this.#archive.resolved({
      rule: query.rule,
      from: query.from ?? 0,
      to: query.to ?? Number.MAX_SAFE_INTEGER,
      limit,
    });
  }

  /** Notes that `who` takes care of an open alert. Throws `NOT_FOUND`. */
  acknowledge(fingerprint: string, who: string): Alert {
    const alert = this.#open.get(fingerprint);
    if (alert === undefined) throw new MonitoringError('NOT_FOUND', `there is no open alert ${fingerprint}`);
    const now = this.#clock.now();
    const acknowledged = { ...alert, acknowledgedBy: who, acknowledgedAt: now };
    this.#archive.commit({ changed: [acknowledged], gone: [], resolved: [], notifications: [], now });
    this.#open.set(fingerprint, acknowledged);
    return acknowledged;
  }

  /** Evaluates every rule once. A call during an evaluation waits for that one. */
  evaluate(): Promise<void> {
    if (this.#closed)
      return Promise.reject(new MonitoringError('CLOSED', 'cannot evaluate: the alert manager is closed'));
    this.#evaluating ??= this.#evaluateAll().finally(() => {
      this.#evaluating = undefined;
    });
    return this.#evaluating;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    await this.#evaluating;
    await this.#sender[Symbol.asyncDispose]();
    this.#archive[Symbol.dispose]();
  }

  async #evaluateAll(): Promise<void> {
    const now = this.#clock.now();
    for (const rule of [...this.#rules.values()]) {
      try {
        const vector = await this.#source.vector(rule.expression, now);
        if (vector.length > MAX_ALERTS_PER_RULE) {
          throw new MonitoringError(
            'QUERY_TOO_EXPENSIVE',
            `it yields ${vector.length} alerts, at most ${MAX_ALERTS_PER_RULE} are kept`,
            {
              hint: 'aggregate the expression, for example with sum by (service)',
            },
          );
        }
        this.#apply(rule, vector, now);
        this.#lastRun.set(rule.name, { at: now });
      } catch (error) {
        // Not knowing is not "all is well": the alerts of this rule stay as they are.
        this.#lastRun.set(rule.name, { at: now, error: errorMessage(error) });
      }
    }
    this.#resolveOrphans(now);
    this.#archive.expire(now - this.#archiveMs);
    this.#sender.wake();
  }

  #apply(rule: AlertRule, vector: Vector, now: number): void {
    const steps: AlertStep[] = [];
    const gone: string[] = [];
    const seen = new Set<string>();
    for (const element of vector) {
      const labels = alertLabels(rule, element.labels);
      const fingerprint = fingerprintOf(labels);
      if (seen.has(fingerprint)) continue;
      seen.add(fingerprint);
      const summary = renderSummary(
        rule.summary ?? `${rule.name}: ${rule.expression}`,
        labels,
        element.value,
      );
      const observation = { value: element.value, summary };
      const current = this.#open.get(fingerprint);
      if (current === undefined) steps.push(beginAlert(rule, fingerprint, labels, observation, now));
      else steps.push(nextAlert(current, observation, rule, now));
    }
    for (const alert of this.#open.values()) {
      if (alert.rule !== rule.name || seen.has(alert.fingerprint)) continue;
      const step = nextAlert(alert, undefined, rule, now);
      if (step.alert === undefined) gone.push(alert.fingerprint);
      else steps.push(step);
    }
    this.#commit(steps, gone, now);
  }

  #resolveOrphans(now: number): void {
    const steps: AlertStep[] = [];
    const gone: string[] = [];
    for (const alert of this.#open.values()) {
      if (this.#rules.has(alert.rule)) continue;
      if (alert.state === 'firing')
        steps.push({ alert: { ...alert, state: 'resolved', resolvedAt: now }, transition: 'resolved' });
      else gone.push(alert.fingerprint);
    }
    if (steps.length + gone.length > 0) this.#commit(steps, gone, now);
  }

  #commit(steps: readonly AlertStep[], gone: readonly string[], now: number): void {
    const alerts = steps.flatMap((step) => (step.alert === undefined ? [] : [step.alert]));
    const resolved = alerts.filter((alert) => alert.state === 'resolved');
    const changed = alerts.filter((alert) => alert.state !== 'resolved');
    const notifications = steps.flatMap((step) => {
      const url = this.#rules.get(step.alert?.rule ?? '')?.webhook ?? this.#webhook;
      if (step.alert === undefined || step.transition === undefined || url === undefined) return [];
      return [{ url, payload: JSON.stringify(webhookPayload(step.alert, url)) }];
    });
    if (changed.length + gone.length + resolved.length === 0) return;
    this.#archive.commit({ changed, gone, resolved, notifications, now });
    for (const alert of changed) this.#open.set(alert.fingerprint, alert);
    for (const fingerprint of [...gone, ...resolved.map((alert) => alert.fingerprint)])
      this.#open.delete(fingerprint);
  }
}
