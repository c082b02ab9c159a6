// `heptad agent`.

import { runAgent } from '../../agent/run-agent.ts';
import { configFromEnvironment } from '../../config.ts';
import { openNodeProcess } from '../../supervise/node-process.ts';
import { runUntilSignal } from '../../supervise/shutdown.ts';

/** Runs it until a signal. Under `heptad up` it takes everything down with it; else services go on without it. */
export async function agent(options: { server?: string; token?: string }): Promise<void> {
  const config = configFromEnvironment();
  await runUntilSignal(async () => {
    const surroundings = await openNodeProcess(config, 'heptad-agent', options);
    return runAgent({ config, ...surroundings, cleanUpAtEnd: process.env.HEPTAD_AGENT_CLEANUP === '1' });
  });
}
