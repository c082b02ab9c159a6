// `heptad server`.

import { pino } from 'pino';
import { configFromEnvironment } from '../../config.ts';
import { runServer } from '../../server/run-server.ts';
import { runUntilSignal } from '../../supervise/shutdown.ts';

/** Runs it until a signal. */
export async function server(): Promise<void> {
  const config = configFromEnvironment();
  const logger = pino({ name: 'heptad-server', level: process.env.HEPTAD_LOG_LEVEL ?? 'info' });
  await runUntilSignal(() => runServer({ config, logger }));
}
