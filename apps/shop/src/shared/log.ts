// Logs: one JSON object a line on stdout, where the platform collects them.

import { errorMessage, systemClock } from '@heptad/core';

/** What a line may carry beside its message. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Writes lines for one service. */
export interface Logger {
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, error: unknown, fields?: LogFields): void;
}

/** A logger whose every line names the service and the replica. */
export function createLogger(service: string, replica: string): Logger {
  const write = (level: string, message: string, fields: LogFields = {}): void => {
    const time = new Date(systemClock.now()).toISOString();
    process.stdout.write(`${JSON.stringify({ time, level, service, replica, message, ...fields })}\n`);
  };
  return {
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, error, fields) => write('error', message, { ...fields, error: errorMessage(error) }),
  };
}
