// Which OCI runtime works on this machine: found out by running a container that does nothing, never by version.

import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { release, tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { errorMessage } from '@heptad/core';
import { sharedLibraries } from '../build/shared-libraries.ts';
import { hostArchitecture } from '../image/manifest.ts';
import { isRootless, mappedGroups } from '../rootless/enter.ts';
import { run } from '../system/command.ts';
import {
  type CgroupLayout,
  cgroupDirectories,
  containerCgroup,
  detectCgroups,
  removeCgroup,
} from './cgroup.ts';
import { generateSpec } from './generate-spec.ts';
import { ownHardLimits } from './rlimits.ts';
import { loadSeccompProfile } from './seccomp.ts';
import { seccompFor } from './seccomp-hardening.ts';

/** What was found. */
export interface OciProbe {
  readonly ok: boolean;
  /** Path or name of the runtime that works. */
  readonly runtime?: string;
  readonly version?: string;
  readonly conmonVersion?: string;
  readonly layout?: CgroupLayout;
  /** Root of a user namespace only: an ordinary user outside. */
  readonly rootless?: boolean;
  readonly reasons: readonly string[];
}

// runc first: on hybrid cgroups crun refuses to start, and elsewhere both work.
const CANDIDATES: readonly string[] = ['runc', 'crun'];
/** What an ordinary user's containers lack. */
const ROOTLESS_MISSING: readonly string[] = [
  'an ordinary user has no cgroups here: no limits, no pause, no stats, no update; run as root for them',
  'an ordinary user has no bridge networks: each container is alone behind slirp4netns, or without network',
];
const PROBE_TIMEOUT_MS = 20_000;
const PACKAGES: Readonly<Record<string, string>> = { runc: 'runc', crun: 'crun', conmon: 'conmon' };

/** Tries the runtimes in order and says of each that does not work why. */
export async function probeOci(candidates: readonly string[] = CANDIDATES): Promise<OciProbe> {
  const reasons: string[] = [];
  const missing: string[] = [];
  if (process.getuid?.() !== 0) {
    reasons.push(
      'containers need root: run as root, or call enterRootless() first, or accept the process runtime, which isolates nothing',
    );
    return { ok: false, reasons };
  }
  const conmonVersion = await versionOf('conmon', reasons);
  const profile = await loadSeccompProfile().catch((error: unknown) => {
    reasons.push(`${errorMessage(error)}; apt-get install golang-github-containers-common`);
  });
  await checkOverlay(reasons);
  if (conmonVersion === undefined || profile === undefined || reasons.length > 0)
    return { ok: false, reasons };
  const rootless = isRootless();
  const layout = rootless ? { ...(await detectCgroups()), denied: true } : await detectCgroups();
  if (rootless) missing.push(...ROOTLESS_MISSING);
  for (const runtime of candidates) {
    const version = await versionOf(runtime, reasons);
    if (version === undefined) continue;
    const failure = await runNothing(runtime, layout, profile);
    if (failure === undefined) {
      return {
        ok: true,
        runtime,
        version,
        conmonVersion,
        layout,
        rootless,
        reasons: [...reasons, ...missing],
      };
    }
    reasons.push(`${runtime} ${version} does not work here: ${failure}`);
  }
  return { ok: false, conmonVersion, layout, reasons };
}

async function versionOf(program: string, reasons: string[]): Promise<string | undefined> {
  try {
    const { stdout, exitCode, stderr } = await run(program, ['--version']);
    if (exitCode === 0) return /version ([^\s]+)/.exec(stdout)?.[1] ?? 'unknown';
    reasons.push(`${program} --version failed: ${stderr.trim()}`);
  } catch {
    reasons.push(`${program} is not installed: apt-get install ${PACKAGES[program] ?? program}`);
  }
  return undefined;
}

async function checkOverlay(reasons: string[]): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'heptad-probe-'));
  try {
    for (const name of ['lower', 'upper', 'work', 'merged']) await mkdir(join(directory, name));
    const { exitCode, stderr } = await run(
      'mount',
      ['-t', 'overlay', 'overlay', '-o', 'lowerdir=lower,upperdir=upper,workdir=work', 'merged'],
      { cwd: directory },
    );
    if (exitCode === 0) await run('umount', [join(directory, 'merged')]);
    else reasons.push(`overlayfs cannot be mounted here: ${stderr.trim()}`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Runs `true` of this machine in a container with everything a real one gets; the reason when that fails. */
async function runNothing(
  runtime: string,
  layout: CgroupLayout,
  profile: Awaited<ReturnType<typeof loadSeccompProfile>>,
): Promise<string | undefined> {
  const bundle = await mkdtemp(join(tmpdir(), 'heptad-probe-'));
  const id = `heptad-probe-${process.pid}-${bundle.slice(-6)}`;
  const cgroupsPath = containerCgroup('heptad-probe', id);
  try {
    await makeRootfs(join(bundle, 'rootfs'));
    const spec = generateSpec({
      id,
      spec: { name: id, image: 'probe', command: ['/bin/true'] },
      image: {},
      user: { uid: 0, gid: 0, additionalGids: [], home: '/' },
      rootfs: 'rootfs',
      seccomp: seccompFor(profile, { architecture: hostArchitecture(), kernel: release() }, {}),
      cgroupsPath,
      cgroupVersion: layout.version,
      cgroupsDenied: layout.denied,
      groups: mappedGroups(),
      binds: [],
      ownLimits: await ownHardLimits(),
    });
    await writeFile(join(bundle, 'config.json'), JSON.stringify(spec));
    const { exitCode, stderr } = await run(
      runtime,
      ['--root', join(bundle, 'state'), 'run', '-b', bundle, id],
      {
        cwd: bundle,
        timeoutMs: PROBE_TIMEOUT_MS,
      },
    );
    if (exitCode === 0) return undefined;
    await run(runtime, ['--root', join(bundle, 'state'), 'delete', '--force', id]).catch(() => undefined);
    return stderr.trim().slice(-500) || `a container that runs "true" ended with ${exitCode}`;
  } catch (error) {
    return errorMessage(error);
  } finally {
    await rm(bundle, { recursive: true, force: true });
    for (const directory of cgroupDirectories(layout, cgroupsPath)) {
      await removeCgroup(directory).catch(() => undefined);
      await removeCgroup(join(directory, '..')).catch(() => undefined);
    }
  }
}

async function makeRootfs(rootfs: string): Promise<void> {
  const files = ['/bin/true', ...(await sharedLibraries('/bin/true'))];
  for (const file of files) {
    const target = join(rootfs, file);
    await mkdir(posix.dirname(target), { recursive: true });
    await copyFile(file, target);
  }
}
