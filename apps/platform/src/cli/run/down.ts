// `heptad down`: stops the platform of this machine, however it was started, and removes what it made.

import { readFile } from 'node:fs/promises';
import { cleanMachine } from '../../agent/clean-machine.ts';
import { configFromEnvironment, type PlatformConfig, platformPaths } from '../../config.ts';
import { stopEverything } from '../../platform.ts';
import { say } from '../output.ts';

/** The configuration the running platform was started with; the environment's when none is known. */
async function runningConfig(): Promise<PlatformConfig> {
  const config = configFromEnvironment();
  const text = await readFile(platformPaths(config.home).config, 'utf8').catch(() => undefined);
  return text === undefined ? config : { ...config, ...(JSON.parse(text) as PlatformConfig) };
}

/** Runs `heptad down`. */
export async function down(): Promise<void> {
  const config = await runningConfig();
  const ended = await stopEverything(config, say);
  const removed = await cleanMachine(config);
  say(ended === 0 && removed === 0 ? 'nothing was running' : 'stopped; nothing of ours is left running');
  process.exit(0);
}
