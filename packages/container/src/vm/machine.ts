// A virtual machine as QEMU's command line: the fewest devices that a container needs, all of them virtio.

import type { Accelerator } from './accelerator.ts';
import { AGENT_SOCKET } from './agent-connection.ts';
import type { GuestKernel } from './kernel.ts';
import { QMP_SOCKET } from './qmp.ts';

/** The emulator's program. */
export const QEMU = 'qemu-system-x86_64';

/** A file of the machine's directory that QEMU writes for the guest, whether or not anybody listens. */
export const GUEST_FILES = {
  stdout: 'stdout.raw',
  stderr: 'stderr.raw',
  status: 'status',
  console: 'console.log',
} as const;

/** How the machine reaches a network. */
export type MachineNetwork =
  | { readonly kind: 'none' }
  /** A tap interface in the namespace that QEMU runs in. */
  | { readonly kind: 'tap'; readonly interfaceName: string; readonly macAddress: string }
  /** QEMU itself plays the network's router; `forwards` in QEMU's words. */
  | { readonly kind: 'user'; readonly forwards: readonly string[] };

/** A directory of the host seen by the machine. */
export interface MachineShare {
  readonly tag: string;
  /** Socket of its virtiofsd, relative to the machine's directory. */
  readonly socket: string;
}

/** What a machine is made of. Paths are absolute or relative to its directory, in which QEMU runs. */
export interface MachineOptions {
  readonly name: string;
  readonly accelerator: Accelerator;
  readonly kernel: GuestKernel;
  readonly initramfs: string;
  readonly memoryBytes: number;
  readonly cpus: number;
  /** A qcow2 image; none for a trial. */
  readonly disk?: string;
  readonly network: MachineNetwork;
  readonly shares: readonly MachineShare[];
  /** More words for the kernel. */
  readonly kernelWords?: readonly string[];
}

/** Node of the disk, by which QMP knows it. */
export const DISK_NODE = 'disk';

/** The arguments of QEMU. Its log files and sockets are relative: it must be started in the machine's directory. */
export function machineArguments(options: MachineOptions): string[] {
  const memory = `${options.memoryBytes}B`;
  return [
    ...['-name', options.name, '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...[
      '-machine',
      `q35,accel=${options.accelerator},sata=off,smbus=off,usb=off,vmport=off,smm=off,memory-backend=ram`,
    ],
    ...['-cpu', options.accelerator === 'kvm' ? 'host' : 'max'],
    ...[
      '-object',
      `memory-backend-memfd,id=ram,size=${memory},share=${options.shares.length > 0 ? 'on' : 'off'}`,
    ],
    ...['-m', memory, '-smp', String(options.cpus), '-bios', 'qboot.rom'],
    ...['-kernel', options.kernel.image, '-initrd', options.initramfs, '-append', kernelCommandLine(options)],
    // QEMU may not start programs, change its user or its scheduling, and obsolete system calls kill it.
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-qmp', `unix:${QMP_SOCKET},server=on,wait=off`],
    ...['-device', 'virtio-rng-pci', '-device', 'virtio-balloon-pci,deflate-on-oom=on,id=balloon'],
    ...['-chardev', `file,id=console,path=${GUEST_FILES.console},append=on`, '-serial', 'chardev:console'],
    ...serialPorts(),
    ...disk(options),
    ...network(options.network),
    ...options.shares.flatMap(share),
  ];
}

/** What the kernel is told: where to talk, to give up at once when it panics, and not to look for devices of old. */
function kernelCommandLine(options: MachineOptions): string {
  const emulated = options.accelerator === 'tcg';
  return [
    ...[
      'console=ttyS0',
      'quiet',
      'loglevel=4',
      'panic=-1',
      'reboot=t',
      'random.trust_cpu=on',
      '8250.nr_uarts=1',
    ],
    ...['i8042.noaux', 'i8042.nokbd', 'i8042.nopnp', 'cryptomgr.notests', 'no5lvl', 'rdinit=/init'],
    // An emulated processor does not speculate.
    ...(emulated ? ['mitigations=off', 'tsc=reliable'] : []),
    ...(options.kernelWords ?? []),
  ].join(' ');
}

function serialPorts(): string[] {
  const files = (['stdout', 'stderr', 'status'] as const).flatMap((name) => [
    ...['-chardev', `file,id=${name},path=${GUEST_FILES[name]},append=on`],
    ...['-device', `virtserialport,chardev=${name},name=heptad.${name}`],
  ]);
  return [
    ...['-device', 'virtio-serial-pci,max_ports=8'],
    ...['-chardev', `socket,id=agent,path=${AGENT_SOCKET},server=on,wait=off`],
    ...['-device', 'virtserialport,chardev=agent,name=heptad.agent'],
    ...files,
  ];
}

function disk(options: MachineOptions): string[] {
  if (options.disk === undefined) return [];
  const node = {
    driver: 'qcow2',
    'node-name': DISK_NODE,
    discard: 'unmap',
    file: { driver: 'file', filename: options.disk, discard: 'unmap' },
  };
  return ['-blockdev', JSON.stringify(node), '-device', `virtio-blk-pci,drive=${DISK_NODE},id=root`];
}

function network(network: MachineNetwork): string[] {
  if (network.kind === 'none') return [];
  const back =
    network.kind === 'tap'
      ? `tap,id=net,ifname=${network.interfaceName},script=no,downscript=no`
      : ['user,id=net,ipv6=off', ...network.forwards.map((forward) => `hostfwd=${forward}`)].join(',');
  const mac = network.kind === 'tap' ? `,mac=${network.macAddress}` : '';
  return ['-netdev', back, '-device', `virtio-net-pci,netdev=net,romfile=${mac}`];
}

function share(each: MachineShare): string[] {
  return [
    ...['-chardev', `socket,id=chr-${each.tag},path=${each.socket}`],
    ...['-device', `vhost-user-fs-pci,chardev=chr-${each.tag},tag=${each.tag}`],
  ];
}
