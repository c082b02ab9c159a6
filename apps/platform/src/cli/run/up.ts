// `heptad up`: the whole platform on this machine, in the foreground or the background.

import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { HeptadError, systemClock } from '@heptad/core';
import { configFromEnvironment, type PlatformConfig, platformPaths } from '../../config.ts';
import { applyManifest, waitReady } from '../../deploy/apply.ts';
import { type ProjectManifest, readProject } from '../../deploy/project.ts';
import { LocalPlatform, takeFirstAdmin } from '../../platform.ts';
import type { Standing } from '../../server/standby-server.ts';
import { selfCommand } from '../../supervise/self.ts';
import { untilSignal } from '../../supervise/shutdown.ts';
import { say } from '../output.ts';
import { buildFromFile } from './deploy.ts';
import { followStanding } from './follow-standing.ts';
import { followEvents, type PlatformEvent } from './inspect.ts';

/** First deployment builds images and starts everything at once on whatever machine this is. */
const DEPLOY_TIMEOUT_MS = 180_000;
/** Set for the `up` that runs in the background: its parent shows the first password, a log never does. */
const BACKGROUND_VARIABLE = 'HEPTAD_UP_BACKGROUND';
const READY_LINE = 'following events; Ctrl-C stops everything';
const POLL_MS = 50;

/** Flags of the command. */
export interface UpOptions {
  readonly file?: string;
  readonly detach?: boolean;
  readonly centers?: string;
  readonly center?: string;
}

function showWhereToLook(config: PlatformConfig, manifest: ProjectManifest | undefined): void {
  say('');
  for (const service of manifest?.services ?? []) {
    for (const port of service.spec.ports) {
      if (port.published !== undefined)
        say(`  ${service.name.padEnd(10)} http://${port.publishedAddress ?? '127.0.0.1'}:${port.published}`);
    }
  }
  say(`  console    http://${config.host}:${config.port}`);
  say(`  API docs   http://${config.host}:${config.port}/docs`);
}

async function showFirstAdmin(config: PlatformConfig): Promise<void> {
  const first = await takeFirstAdmin(config);
  if (first === undefined) return;
  say('');
  say(`  first administrator: ${first.username}`);
  say(`  password:            ${first.password}`);
  say('  (shown only this once; "heptad security user reset-password admin" makes a new one)');
}

async function deploy(platform: LocalPlatform, file: string): Promise<ProjectManifest> {
  const manifest = await buildFromFile(file);
  const names = manifest.services.map((service) => service.name);
  say(`deploying ${names.join(', ')}…`);
  await applyManifest(platform.client, manifest);
  await waitReady(platform.client, names, {
    timeoutMs: DEPLOY_TIMEOUT_MS,
    onProgress: (text) => say(`  ${text}`),
  });
  return manifest;
}

/** A standby deploys nothing, but it must have the images of what it may have to run. */
async function prepare(platform: LocalPlatform, file: string): Promise<void> {
  const { primary, api } = platform.standing ?? {};
  await buildFromFile(file);
  const where = primary === undefined ? 'the primary, once there is one,' : primary;
  say(`images are ready; services are deployed at ${where}${api === undefined ? '' : ` (${api})`}`);
}

function showStanding(config: PlatformConfig, { primary, message }: Standing): void {
  const self = config.centers?.self;
  say(
    `  this is ${self}, a standby centre${primary === undefined ? '; there is no primary yet' : ` of ${primary}`}`,
  );
  say(`  ${message}`);
  say('  look around: ./heptad dr status, ./heptad dr explain; make it primary: ./heptad dr failover');
}

/** Runs `heptad up`. */
export async function up(options: UpOptions): Promise<void> {
  if (options.centers !== undefined) process.env.HEPTAD_CENTERS = options.centers;
  if (options.center !== undefined) process.env.HEPTAD_CENTER = options.center;
  const config = configFromEnvironment();
  // A mistake in the file is told before anything is started.
  if (options.file !== undefined) await readProject(options.file);
  if (options.detach) return upInBackground(config, options.file);
  const signalled = untilSignal();
  const interrupted = signalled.then(() => 'interrupted' as const);
  const platform = await LocalPlatform.start(config, say);
  let manifest: ProjectManifest | undefined;
  if (options.file !== undefined) {
    const { file } = options;
    const deploying =
      platform.standing === undefined
        ? deploy(platform, file)
        : prepare(platform, file).then(() => undefined);
    // An unhandled failure after Ctrl-C is of no interest: everything is being stopped.
    deploying.catch(() => {});
    try {
      const first = await Promise.race([deploying, interrupted]);
      if (first === 'interrupted') {
        await platform.stop(say);
        process.exit(130);
      }
      manifest = first;
    } catch (error) {
      await platform.stop(say);
      throw error;
    }
  }
  if (platform.standing === undefined) showWhereToLook(config, manifest);
  else showStanding(config, platform.standing);
  if (process.env[BACKGROUND_VARIABLE] === undefined) await showFirstAdmin(config);
  say('');
  if (platform.standing === undefined)
    say('  look around: ./heptad ps, ./heptad services, ./heptad logs -f SERVICE');
  say('');
  say(READY_LINE);
  const following = new AbortController();
  const show = (event: PlatformEvent): void =>
    say(`${new Date(event.at).toISOString()} ${event.object} ${event.op}: ${event.because}`);
  const events = (
    config.centers === undefined
      ? followEvents(platform.client, show, following.signal)
      : followStanding(config, show, following.signal)
  ).catch(() => {});
  await signalled;
  following.abort();
  await events;
  await platform.stop(say);
  say('stopped; nothing of ours is left running');
  process.exit(0);
}

/** Starts an `up` that outlives us, shows what it says until it is ready, and leaves it to supervise the rest. */
async function upInBackground(config: PlatformConfig, file: string | undefined): Promise<void> {
  const logFile = join(platformPaths(config.home).logs, 'up.log');
  mkdirSync(dirname(logFile), { recursive: true });
  const from = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  const log = openSync(logFile, 'a', 0o640);
  const { command, args } = selfCommand(['up', ...(file === undefined ? [] : ['-f', file])]);
  const child = spawn(command, args, {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, [BACKGROUND_VARIABLE]: '1' },
  });
  closeSync(log);
  let ended = false;
  child.once('exit', () => {
    ended = true;
  });
  let shown = 0;
  for (;;) {
    const over = ended;
    const text = readFileSync(logFile).subarray(from).toString();
    const lines = text.split('\n').slice(0, -1);
    for (const line of lines.slice(shown)) if (line !== READY_LINE) say(line);
    shown = lines.length;
    if (lines.includes(READY_LINE)) break;
    if (over)
      throw new HeptadError('START_FAILED', 'the platform did not start; what it said is above', {
        hint: `the log is ${logFile}`,
      });
    await systemClock.sleep(POLL_MS);
  }
  await showFirstAdmin(config);
  say(`running in the background (log: ${logFile}); "heptad down" stops it`);
  process.exit(0);
}
