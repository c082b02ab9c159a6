// Alert resources become rules of the alert manager; what it finds becomes their status.

import { type AlertResource, errorMessage, Informer, isHeptadError } from '@heptad/core';
import type { ServerParts } from './parts.ts';

/** How often states are written back. */
const REPORT_INTERVAL_MS = 2_000;

/** Keeps rules and statuses in line until the signal aborts. */
export async function runAlerts(parts: ServerParts, signal: AbortSignal): Promise<void> {
  const { store, clock, resources, monitoring } = parts;
  const { alerts } = monitoring;
  await using informer = new Informer(store, 'Alert', { clock });
  await informer.ready;
  const refused = new Map<string, string>();
  const add = ({ name, spec }: AlertResource): void => {
    const { expression, forMs, severity, summary, webhook } = spec;
    try {
      alerts.addRule({
        name,
        expression,
        forMs,
        severity,
        summary,
        ...(webhook === undefined ? {} : { webhook }),
      });
      refused.delete(name);
    } catch (error) {
      // A rule that cannot be read must not keep the others from working; its status says why.
      refused.set(name, errorMessage(error));
    }
  };
  for (const alert of informer.items.values()) add(alert);
  using _changes = informer.onChange((change) => {
    if (change.type === 'put') add(change.resource);
    else alerts.removeRule(change.name);
  });
  while (!signal.aborted) {
    for (const { name } of informer.items.values()) {
      const status = statusOf(parts, name, refused.get(name));
      await resources.Alert.updateStatus(name, ({ status: current }) =>
        JSON.stringify(current) === JSON.stringify(status) ? undefined : status,
      ).catch((error: unknown) => {
        // Removed between the look and the write.
        if (!isHeptadError(error, 'NOT_FOUND')) throw error;
      });
    }
    await clock.sleep(REPORT_INTERVAL_MS, signal).catch(() => {});
  }
}

function statusOf(parts: ServerParts, name: string, refusal: string | undefined): AlertResource['status'] {
  const { alerts } = parts.monitoring;
  if (refusal !== undefined) return { state: 'inactive', message: `the rule cannot be used: ${refusal}` };
  const rule = alerts.rules().find((one) => one.rule.name === name);
  if (rule?.error !== undefined)
    return { state: rule.state, message: `the last evaluation failed: ${rule.error}` };
  const [worst] = alerts.alerts().filter((alert) => alert.rule === name);
  if (worst === undefined) return { state: 'inactive', message: 'nothing to alert of' };
  return {
    state: rule?.state ?? 'inactive',
    since: worst.firedAt ?? worst.activeAt,
    value: worst.value,
    message: worst.summary,
  };
}
