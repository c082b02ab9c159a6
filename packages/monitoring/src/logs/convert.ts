// OTLP log records to ours.

import { labelValue, resourceLabels } from '../ingest/naming.ts';
import type { OtlpLog, ResourceGroup } from '../ingest/otlp-model.ts';
import { LOG_LEVELS, type LogLevel, type LogRecord } from './log-types.ts';

/** OTLP severities come in steps of four: 1 to 4 trace, … 21 to 24 fatal. */
const STEP = 4;
const INFO_INDEX = 2;

function levelOf(log: OtlpLog): LogLevel {
  const byNumber = LOG_LEVELS[Math.ceil(log.severityNumber / STEP) - 1];
  if (byNumber !== undefined) return byNumber;
  const text = log.severityText.toLowerCase();
  return LOG_LEVELS.find((level) => text.startsWith(level)) ?? LOG_LEVELS[INFO_INDEX] ?? 'info';
}

/** Converts a request; a record without any time gets `now`. */
export function convertLogs(groups: readonly ResourceGroup<OtlpLog>[], now: number): LogRecord[] {
  return groups.flatMap(({ resource, items }) => {
    const { identity } = resourceLabels(resource);
    const { service = 'unknown', ...where } = identity;
    return items.map((log): LogRecord => {
      const nanos = log.timeNanos || log.observedNanos;
      return {
        at: nanos === 0n ? now : Number(nanos / 1000n) / 1000,
        level: levelOf(log),
        service,
        body: labelTextOf(log),
        ...(log.traceId === '' ? {} : { traceId: log.traceId }),
        ...(log.spanId === '' ? {} : { spanId: log.spanId }),
        attributes: { ...where, ...log.attributes },
      };
    });
  });
}

function labelTextOf(log: OtlpLog): string {
  return typeof log.body === 'string' ? log.body : labelValue(log.body);
}
