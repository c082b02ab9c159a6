// `heptad up`: the whole platform on this machine, in the foreground or detached.

import { configFromEnvironment, type PlatformConfig } from '../../config.ts';
import { applyManifest, waitReady } from '../../deploy/apply.ts';
import type { ProjectManifest } from '../../deploy/project.ts';
import { readProject } from '../../deploy/project.ts';
import { LocalPlatform } from '../../platform.ts';
import { untilSignal } from '../../supervise/shutdown.ts';
import { say } from '../output.ts';
import { buildFromFile } from './deploy.ts';
import { followEvents } from './inspect.ts';

/** First deployment builds images and starts everything at once on whatever machine this is. */
const DEPLOY_TIMEOUT_MS = 180_000;

function showWhereToLook(platform: LocalPlatform, manifest: ProjectManifest | undefined): void {
  const { config } = platform;
  say('');
  for (const service of manifest?.services ?? []) {
    for (const port of service.spec.ports) {
      if (port.published !== undefined)
        say(`  ${service.name.padEnd(10)} http://${port.publishedAddress ?? '127.0.0.1'}:${port.published}`);
    }
  }
  say(`  console    http://${config.host}:${config.port}`);
  say(`  API docs   http://${config.host}:${config.port}/docs`);
  if (platform.firstAdmin !== undefined) {
    say('');
    say(`  first administrator: ${platform.firstAdmin.username}`);
    say(`  password:            ${platform.firstAdmin.password}`);
    say('  (shown only this once; "heptad security user add" makes more users)');
  }
  say('');
  say('  look around: ./heptad ps, ./heptad services, ./heptad logs -f SERVICE');
  say('');
}

async function deploy(platform: LocalPlatform, file: string): Promise<ProjectManifest> {
  const manifest = await buildFromFile(file);
  say(`deploying ${manifest.services.map((service) => service.name).join(', ')}…`);
  await applyManifest(platform.client, manifest);
  await waitReady(
    platform.client,
    manifest.services.map((service) => service.name),
    { timeoutMs: DEPLOY_TIMEOUT_MS, onProgress: (text) => say(`  ${text}`) },
  );
  return manifest;
}

/** Runs `heptad up`. */
export async function up(options: { file?: string; detach?: boolean }): Promise<void> {
  const config: PlatformConfig = configFromEnvironment();
  // A mistake in the file is told before anything is started.
  if (options.file !== undefined) await readProject(options.file);
  const signalled = untilSignal();
  const interrupted = signalled.then(() => 'interrupted' as const);
  const starting = LocalPlatform.start(config, say);
  const platform = await starting;
  let manifest: ProjectManifest | undefined;
  if (options.file !== undefined) {
    const deploying = deploy(platform, options.file);
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
  showWhereToLook(platform, manifest);
  if (options.detach) {
    await platform.leave();
    process.exit(0);
  }
  say('following events; Ctrl-C stops everything');
  const following = new AbortController();
  const events = followEvents(
    platform.client,
    (event) => say(`${new Date(event.at).toISOString()} ${event.object} ${event.op}: ${event.because}`),
    following.signal,
  ).catch(() => {});
  await signalled;
  following.abort();
  await events;
  await platform.stop(say);
  say('stopped; nothing of ours is left running');
  process.exit(0);
}
