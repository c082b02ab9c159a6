// Which virtualisation this machine can really do: /dev/kvm may open and still not run a guest, so a guest is run.

import { access, constants, mkdtemp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { z } from 'zod';
import { run } from '../system/command.ts';
import { ensureDirectory, readJson, removeTree, writeJsonAtomic } from '../system/files.ts';
import { currentBootId } from '../system/processes.ts';
import type { Initramfs } from './initramfs.ts';
import type { GuestKernel } from './kernel.ts';
import { GUEST_FILES, machineArguments, QEMU } from './machine.ts';

/** What executes the guest's instructions: the processor through KVM, or QEMU's translator. */
export type Accelerator = 'kvm' | 'tcg';

/** The accelerator in use, and why not a better one. */
export interface AcceleratorChoice {
  readonly accelerator: Accelerator;
  /** Why KVM is not used, with what to do. */
  readonly reasons: readonly string[];
}

const KVM_DEVICE = '/dev/kvm';
// With KVM the guest is up in half a second; a guest that is not after ten is not accelerated by anything.
const TRIAL_MS = 10_000;
const TRIAL_MEMORY_BYTES = 192 * 1024 * 1024;

const verdictSchema = z.object({ key: z.string(), works: z.boolean(), why: z.string() });

/** Where and with what a trial is made. */
export interface TrialOptions {
  readonly kernel: GuestKernel;
  readonly initramfs: Initramfs;
  /** The verdict is kept here until the machine boots anew. */
  readonly directory: string;
  readonly qemuVersion: string;
  readonly clock: Clock;
}

/** Chooses: KVM where a guest boots with it, software emulation otherwise. */
export async function chooseAccelerator(options: TrialOptions): Promise<AcceleratorChoice> {
  const usable = await access(KVM_DEVICE, constants.R_OK | constants.W_OK).then(
    () => undefined,
    (error: unknown) => errorMessage(error),
  );
  if (usable !== undefined) {
    return emulated(
      `${KVM_DEVICE} cannot be used (${usable}): enable virtualisation in the firmware or nested virtualisation in the hypervisor, load kvm_intel or kvm_amd, and join the group kvm`,
    );
  }
  const key = [
    await currentBootId(),
    options.qemuVersion,
    options.kernel.release,
    options.initramfs.digest,
  ].join(' ');
  const path = join(options.directory, 'kvm.json');
  const known = verdictSchema.safeParse(await readJson(path).catch(() => undefined));
  const verdict = known.success && known.data.key === key ? known.data : { key, ...(await trial(options)) };
  if (!known.success || known.data.key !== key) await writeJsonAtomic(path, verdict, { durable: false });
  if (verdict.works) return { accelerator: 'kvm', reasons: [] };
  return emulated(
    `${KVM_DEVICE} opens, but a guest does not boot with it (${verdict.why}): this host is itself a guest without hardware virtualisation; use a host that has it, or nested virtualisation`,
  );
}

function emulated(reason: string): AcceleratorChoice {
  return { accelerator: 'tcg', reasons: [`hardware-assisted virtualisation is not in use: ${reason}`] };
}

/** Boots the guest as far as its agent, which says so and powers off. */
async function trial(options: TrialOptions): Promise<{ works: boolean; why: string }> {
  await ensureDirectory(options.directory);
  const directory = await mkdtemp(join(options.directory, 'trial-'));
  try {
    const args = machineArguments({
      name: 'heptad-trial',
      accelerator: 'kvm',
      kernel: options.kernel,
      initramfs: options.initramfs.path,
      memoryBytes: TRIAL_MEMORY_BYTES,
      cpus: 1,
      network: { kind: 'none' },
      shares: [],
      kernelWords: ['heptad.trial'],
    });
    const result = await run(QEMU, args, { cwd: directory, timeoutMs: TRIAL_MS }).catch(
      (error: unknown) => error,
    );
    const status = await readFile(join(directory, GUEST_FILES.status), 'utf8').catch(() => '');
    if (status.startsWith('trial')) return { works: true, why: '' };
    const said = result instanceof Error ? `not within ${TRIAL_MS} ms` : lastLine(result);
    return { works: false, why: said };
  } finally {
    await removeTree(directory);
  }
}

function lastLine(result: unknown): string {
  const text = z.looseObject({ stderr: z.string() }).safeParse(result);
  return (
    (text.success ? text.data.stderr.trim().split('\n').at(-1) : undefined) || 'QEMU ended without a word'
  );
}
