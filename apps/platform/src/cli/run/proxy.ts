// `heptad proxy`.

import { configFromEnvironment } from '../../config.ts';
import { runProxy } from '../../proxy/run-proxy.ts';
import { openNodeProcess } from '../../supervise/node-process.ts';
import { runUntilSignal } from '../../supervise/shutdown.ts';

/** Runs it until a signal. */
export async function proxy(): Promise<void> {
  const config = configFromEnvironment();
  await runUntilSignal(async () => {
    const { store, logger, telemetry } = await openNodeProcess(config, 'heptad-proxy');
    const isolation = process.env.HEPTAD_ISOLATION === 'process' ? 'process' : 'container';
    const running = await runProxy({ config, store, isolation, logger });
    logger.info({ isolation }, 'proxy serves');
    return {
      async [Symbol.asyncDispose]() {
        await running[Symbol.asyncDispose]();
        await telemetry.close();
      },
    };
  });
}
