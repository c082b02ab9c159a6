// What this machine has for virtual machines: emulator, kernel, tools, acceleration; found out once, by trying.

import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { run, TOOL_PATH } from '../system/command.ts';
import { type Accelerator, type AcceleratorChoice, chooseAccelerator } from './accelerator.ts';
import { buildInitramfs, type Initramfs } from './initramfs.ts';
import { findKernel, type GuestKernel } from './kernel.ts';
import { QEMU } from './machine.ts';

/** Everything a machine is booted with. */
export interface VmPlatform {
  readonly qemuVersion: string;
  readonly kernel: GuestKernel;
  readonly initramfs: Initramfs;
}

/** How guests are virtualised, by the names of the trade. */
export interface Virtualization {
  /** Who executes the guest's instructions: `hardware-assisted` by KVM, `full` by QEMU's translation (TCG). */
  readonly processor: 'hardware-assisted' | 'full';
  readonly accelerator: Accelerator;
  /** Devices are not emulated hardware but made for guests that know: `para`, by virtio. */
  readonly devices: 'para';
  readonly emulator: string;
  readonly guestKernel: string;
  /** Why it is not hardware-assisted, with what to do. */
  readonly reasons: readonly string[];
}

const PROGRAMS: readonly { readonly program: string; readonly package: string }[] = [
  { program: QEMU, package: 'qemu-system-x86' },
  { program: 'qemu-img', package: 'qemu-utils' },
  { program: 'mkfs.ext4', package: 'e2fsprogs' },
];

/** The directory of initramfs, verdicts and disks on their way, in a runtime's home. */
export function platformDirectory(home: string): string {
  return join(home, 'platform');
}

/** Finds the platform, once; asks for acceleration when it is first needed, because trying takes a guest's boot. */
export class PlatformFinder {
  private readonly directory: string;
  private readonly clock: Clock;
  private readonly wanted: 'auto' | Accelerator;
  private found: Promise<VmPlatform> | undefined;
  private choice: Promise<AcceleratorChoice> | undefined;

  constructor(options: { directory: string; clock: Clock; accelerator: 'auto' | Accelerator }) {
    this.directory = options.directory;
    this.clock = options.clock;
    this.wanted = options.accelerator;
  }

  /** The platform. Throws `RUNTIME_UNAVAILABLE` with everything that is missing, and how to get it. */
  platform(): Promise<VmPlatform> {
    this.found ??= this.find();
    // What is missing may be installed meanwhile.
    this.found.catch(() => {
      this.found = undefined;
    });
    return this.found;
  }

  /** What executes guests here. */
  async accelerator(): Promise<AcceleratorChoice> {
    const { kernel, initramfs, qemuVersion } = await this.platform();
    this.choice ??=
      this.wanted === 'auto'
        ? chooseAccelerator({ kernel, initramfs, qemuVersion, directory: this.directory, clock: this.clock })
        : Promise.resolve({ accelerator: this.wanted, reasons: [] });
    return await this.choice;
  }

  /** Both, for people. */
  async virtualization(): Promise<Virtualization> {
    const { kernel, qemuVersion } = await this.platform();
    const { accelerator, reasons } = await this.accelerator();
    return {
      processor: accelerator === 'kvm' ? 'hardware-assisted' : 'full',
      accelerator,
      devices: 'para',
      emulator: `QEMU ${qemuVersion}`,
      guestKernel: kernel.release,
      reasons,
    };
  }

  private async find(): Promise<VmPlatform> {
    const reasons: string[] = [];
    if (process.arch !== 'x64')
      reasons.push(`virtual machines run on x86-64 only, and this is ${process.arch}`);
    if (process.getuid?.() !== 0) {
      reasons.push('disks of images are made by root only, because files in them belong to many users');
    }
    for (const { program, package: name } of PROGRAMS) {
      if (!(await isInstalled(program))) reasons.push(`${program} is not installed: apt-get install ${name}`);
    }
    const kernel = await findKernel().catch((error: unknown) => missing(error, reasons));
    const initramfs =
      kernel === undefined
        ? undefined
        : await buildInitramfs(kernel, this.directory).catch((error: unknown) => missing(error, reasons));
    if (reasons.length > 0 || kernel === undefined || initramfs === undefined) {
      throw new ContainerError(
        'RUNTIME_UNAVAILABLE',
        `virtual machines do not work here: ${reasons.join('; ')}`,
        {
          hint: 'follow the reasons given, or use the oci runtime',
          details: { reasons },
        },
      );
    }
    const { stdout } = await run(QEMU, ['--version']);
    return { qemuVersion: /version (\S+)/.exec(stdout)?.[1] ?? 'of unknown version', kernel, initramfs };
  }
}

function missing(error: unknown, reasons: string[]): undefined {
  const hint = error instanceof ContainerError && error.hint !== undefined ? `: ${error.hint}` : '';
  reasons.push(`${errorMessage(error)}${hint}`);
  return undefined;
}

async function isInstalled(program: string): Promise<boolean> {
  for (const directory of TOOL_PATH.split(':')) {
    const usable = await access(join(directory, program), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (usable) return true;
  }
  return false;
}
