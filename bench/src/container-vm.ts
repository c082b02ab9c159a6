// From "start" to the first process of the user in a virtual machine: Heptad, and QEMU with the distribution's own initrd.

import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ContainerEngine, Virtualization } from '@heptad/container';
import { IMAGE, openEngine } from './container/sleeper.ts';
import { type Benchmark, type Contender, compare, timed } from './harness.ts';

const WORD = 'started';
const COMMAND: readonly string[] = ['/bin/sh', '-c', `echo ${WORD}; exec sleep 600`];
const MEMORY_MIB = 256;
const TIMEOUT_MS = 120_000;

function heptad(engine: ContainerEngine): Contender {
  return {
    who: 'heptad',
    once: async () => {
      const id = await engine.runtime.create({
        name: 'bench',
        image: IMAGE,
        runtime: 'vm',
        entrypoint: [],
        command: COMMAND,
        network: 'none',
        limits: { memoryBytes: MEMORY_MIB * 1024 * 1024, cpuMillis: 1000 },
      });
      try {
        // It answers when the program has replaced the process that was to become it.
        const time = await timed(() => engine.runtime.start(id));
        const signal = AbortSignal.timeout(TIMEOUT_MS);
        for await (const line of engine.runtime.logs(id, { follow: true, signal })) {
          if (line.text === WORD) return time;
        }
        throw new Error('the program in the virtual machine said nothing');
      } finally {
        await engine.runtime.remove(id, { force: true });
      }
    },
  };
}

/** The same kernel, disk, memory and program, started as the distribution means it: SeaBIOS, its initrd, its init. */
function plainQemu(home: string, base: string, { accelerator, guestKernel }: Virtualization): Contender {
  const disk = join(home, 'peer.qcow2');
  const words = `console=ttyS0 quiet root=/dev/vda rw panic=-1 init=${COMMAND[0]} -- ${COMMAND[1]} "${COMMAND[2]}"`;
  const args = [
    ...['-machine', `q35,accel=${accelerator}`, '-cpu', accelerator === 'kvm' ? 'host' : 'max', '-smp', '1'],
    ...['-m', `${MEMORY_MIB}M`, '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-serial', 'stdio', '-device', 'virtio-rng-pci', '-drive', `if=virtio,format=qcow2,file=${disk}`],
    ...[
      '-kernel',
      `/boot/vmlinuz-${guestKernel}`,
      '-initrd',
      `/boot/initrd.img-${guestKernel}`,
      '-append',
      words,
    ],
  ];
  return {
    who: 'qemu',
    once: async () => {
      await rm(disk, { force: true });
      await promisify(execFile)('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', disk]);
      let child: ReturnType<typeof spawn> | undefined;
      try {
        return await timed(async () => {
          child = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'pipe', 'inherit'] });
          const overdue = setTimeout(() => child?.kill('SIGKILL'), TIMEOUT_MS);
          let said = '';
          for await (const chunk of child.stdout ?? []) {
            said += String(chunk);
            if (said.includes(WORD)) break;
          }
          clearTimeout(overdue);
          if (!said.includes(WORD)) throw new Error(`the peer did not start: ${said.slice(-500)}`);
        });
      } finally {
        child?.kill('SIGKILL');
      }
    },
  };
}

export const benchmark: Benchmark = {
  description: 'start a virtual machine until the first process of the user runs, its disk being made',
  async run(options) {
    const home = await mkdtemp('/var/tmp/heptad-bench-');
    try {
      await using engine = await openEngine(home, options.say);
      const virtualization = await engine.machines?.virtualization();
      if (virtualization === undefined) throw new Error('this engine has no virtual machines');
      for (const reason of virtualization.reasons) options.say(reason);
      const ours = heptad(engine);
      options.say('making the disk of the image');
      await ours.once();
      const bases = join(home, 'engine', 'oci', 'bases');
      const [base = ''] = await readdir(bases);
      const contenders = [ours, plainQemu(home, join(bases, base), virtualization)];
      const name = `boot (${virtualization.accelerator})`;
      const results = await compare(
        { case: name, metric: 'time', unit: 'ms', contenders, rounds: 15 },
        options,
      );
      await engine.network?.removeBridge();
      const { emulator, guestKernel, processor } = virtualization;
      return { ...results, versions: { qemu: emulator, kernel: guestKernel, virtualisation: processor } };
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },
};
