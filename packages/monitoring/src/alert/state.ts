// The life of one alert, as a pure function: inactive -> pending -> firing -> resolved.

import type { Labels } from '../metrics/labels.ts';

/** Where an alert stands. */
export type AlertState = 'pending' | 'firing' | 'resolved';

/** A rule. */
export interface AlertRule {
  /** Unique name. */
  readonly name: string;
  /** PromQL; each element of its result is one alert. `rate(errors_total[1m]) > 1`. */
  readonly expression: string;
  /** It must hold this long without a break before it fires, in milliseconds. Default 0. */
  readonly forMs?: number;
  /** Once firing it goes on firing this long after it stopped holding. Default 0. */
  readonly keepFiringForMs?: number;
  readonly severity?: 'info' | 'warning' | 'critical';
  /** Labels added to every alert of this rule. */
  readonly labels?: Labels;
  /** Text for people; `{{ $value }}` and `{{ $labels.service }}` are filled in. */
  readonly summary?: string;
  /** Where to POST when an alert of this rule fires or resolves; default the manager's. */
  readonly webhook?: string;
}

/** One alert of a rule. */
export interface Alert {
  /** Equal for the same rule and labels, over restarts. */
  readonly fingerprint: string;
  readonly rule: string;
  readonly labels: Labels;
  readonly severity: 'info' | 'warning' | 'critical';
  readonly summary: string;
  readonly state: AlertState;
  /** The value of the expression when it last held. */
  readonly value: number;
  /** When the expression began to hold. */
  readonly activeAt: number;
  readonly firedAt?: number;
  readonly resolvedAt?: number;
  /** When the expression last held. */
  readonly lastTrueAt: number;
  readonly acknowledgedBy?: string;
  readonly acknowledgedAt?: number;
}

/** What a person must be told. */
export type AlertTransition = 'fired' | 'resolved';

/** The next state of an alert; `alert` is `undefined` when there is none any more. */
export interface AlertStep {
  readonly alert: Alert | undefined;
  readonly transition?: AlertTransition;
}

/** What the expression says now of an alert: its value while it holds, `undefined` while it does not. */
export type Observation = { readonly value: number; readonly summary: string } | undefined;

/**
 * One turn of the state machine.
 *
 * Pending that stops holding vanishes without a word; firing that stops holding resolves after `keepFiringForMs`.
 * A resolved alert is gone: when it holds again, a new one begins.
 */
export function nextAlert(current: Alert, observation: Observation, rule: AlertRule, now: number): AlertStep {
  if (observation === undefined) {
    if (current.state !== 'firing') return { alert: undefined };
    if (now - current.lastTrueAt < (rule.keepFiringForMs ?? 0)) return { alert: current };
    return { alert: { ...current, state: 'resolved', resolvedAt: now }, transition: 'resolved' };
  }
  const held: Alert = { ...current, ...observation, lastTrueAt: now };
  if (held.state === 'pending' && now - held.activeAt >= (rule.forMs ?? 0)) {
    return { alert: { ...held, state: 'firing', firedAt: now }, transition: 'fired' };
  }
  return { alert: held };
}

/** A new alert whose expression holds for the first time. */
export function beginAlert(
  rule: AlertRule,
  fingerprint: string,
  labels: Labels,
  observation: NonNullable<Observation>,
  now: number,
): AlertStep {
  const pending: Alert = {
    fingerprint,
    rule: rule.name,
    labels,
    severity: rule.severity ?? 'warning',
    ...observation,
    state: 'pending',
    activeAt: now,
    lastTrueAt: now,
  };
  return nextAlert(pending, observation, rule, now);
}

/** Fills `{{ $value }}` and `{{ $labels.name }}` in. */
export function renderSummary(template: string, labels: Labels, value: number): string {
  return template.replace(
    /\{\{\s*\$(value|labels\.([a-zA-Z_]\w*))\s*\}\}/g,
    (_, what: string, label?: string) =>
      what === 'value' ? String(Number(value.toPrecision(6))) : (labels[label ?? ''] ?? ''),
  );
}
