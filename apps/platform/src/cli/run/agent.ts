// `heptad agent`.

import { pino } from 'pino';
import { runAgent } from '../../agent/run-agent.ts';
import { configFromEnvironment } from '../../config.ts';
import { openNodeProcess, serverOf } from '../../supervise/node-process.ts';
import { runUntilSignal } from '../../supervise/shutdown.ts';

/** Runs it until a signal. Under `heptad up` it takes everything down with it; else services go on without it. */
export async function agent(options: { server?: string; token?: string }): Promise<void> {
  const config = configFromEnvironment();
  const logger = pino({ name: 'heptad-agent', level: process.env.HEPTAD_LOG_LEVEL ?? 'info' });
  await runUntilSignal(() =>
    runAgent({
      config,
      server: serverOf(config, options.server),
      logger,
      openSurroundings: () => openNodeProcess(config, 'heptad-agent', options),
      cleanUpAtEnd: process.env.HEPTAD_AGENT_CLEANUP === '1',
    }),
  );
}
