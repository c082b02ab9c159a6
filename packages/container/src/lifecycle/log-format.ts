// The log format of Kubernetes ("k8s-file"): `<RFC 3339 time> stdout|stderr F|P <text>`, one record a line.

import type { LogLine } from '@heptad/core';

/** One record; `partial` ones are continued by the next record of the same stream. */
export interface LogRecord extends LogLine {
  readonly partial: boolean;
}

const RECORD = /^(\S+) (stdout|stderr) ([FP]) ?(.*)$/s;

/** A record from its line, or undefined for a line cut short by a crash. */
export function parseLogRecord(line: string): LogRecord | undefined {
  const match = RECORD.exec(line);
  if (match === null) return undefined;
  const [, time = '', stream, tag, text = ''] = match;
  // Nanoseconds are more digits than Date.parse promises to take.
  const at = Date.parse(time.replace(/(\.\d{3})\d+/, '$1'));
  if (Number.isNaN(at)) return undefined;
  return { at, stream: stream === 'stderr' ? 'stderr' : 'stdout', partial: tag === 'P', text };
}

/** The line of a record, without its newline. */
export function formatLogRecord(record: LogRecord): string {
  return `${new Date(record.at).toISOString()} ${record.stream} ${record.partial ? 'P' : 'F'} ${record.text}`;
}

// A program that never writes a newline must not make us hold its whole output.
const MAX_JOINED_LINE = 1024 * 1024;

/** Joins partial records into lines, per stream. */
export class LineJoiner {
  private readonly pending = new Map<LogRecord['stream'], { at: number; text: string }>();

  /** The line completed by `record`, if it completes one. */
  add(record: LogRecord): LogLine | undefined {
    const before = this.pending.get(record.stream);
    const text = (before?.text ?? '') + record.text;
    const at = before?.at ?? record.at;
    if (record.partial && text.length < MAX_JOINED_LINE) {
      this.pending.set(record.stream, { at, text });
      return undefined;
    }
    this.pending.delete(record.stream);
    return { at, stream: record.stream, text };
  }

  /** Lines whose end was never written. */
  rest(): LogLine[] {
    const lines = [...this.pending].map(([stream, { at, text }]) => ({ at, stream, text }));
    this.pending.clear();
    return lines;
  }
}
