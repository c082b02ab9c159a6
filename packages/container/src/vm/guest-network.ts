// Puts a machine into a container's place on a network: its tap and the place's interface on one bridge inside the namespace.

import { createHash } from 'node:crypto';
import type { PublishedPort } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { run, runOrThrow } from '../system/command.ts';

/** What the guest sets up. */
export interface GuestAddress {
  readonly address: string;
  readonly netmask: string;
  readonly gateway?: string | undefined;
}

/** Where a machine is plugged into a network: a tap in the namespace that QEMU runs in. */
export interface Plug {
  readonly namespace: string;
  readonly prefix: number;
  readonly interfaceName: string;
  readonly macAddress: string;
  readonly guest: GuestAddress;
}

const plugSchema: z.ZodType<Plug> = z.object({
  namespace: z.string(),
  prefix: z.number(),
  interfaceName: z.string(),
  macAddress: z.string(),
  guest: z.object({ address: z.string(), netmask: z.string(), gateway: z.string().optional() }),
});

/** Reads what was written of a plug; undefined when it is none. */
export function parsePlug(json: unknown): Plug | undefined {
  const parsed = plugSchema.safeParse(json);
  return parsed.success ? parsed.data : undefined;
}

const TAP = 'vmtap0';
const BRIDGE = 'vmbr0';
const PLACE = 'eth0';

/** Addresses of QEMU's own network, where it plays router and resolver. */
export const USER_NETWORK: GuestAddress & { readonly resolver: string } = {
  address: '10.0.2.15',
  netmask: '255.255.255.0',
  gateway: '10.0.2.2',
  resolver: '10.0.2.3',
};

const addressesSchema = z.array(
  z.looseObject({
    addr_info: z
      .array(z.looseObject({ family: z.string(), local: z.string(), prefixlen: z.number() }))
      .optional(),
  }),
);
const routesSchema = z.array(z.looseObject({ dst: z.string(), gateway: z.string().optional() }));

/**
 * Moves the address of the namespace's interface to the guest: the namespace keeps only a bridge between that interface
 * and the guest's tap, so that everything made for the place (address, ports, names, rules) is the machine's.
 */
export async function plugMachine(namespace: string, id: string): Promise<Plug> {
  const inside = (...args: string[]): Promise<string> =>
    runOrThrow('nsenter', [`--net=${namespace}`, ...args]);
  const addresses = addressesSchema.parse(
    JSON.parse(await inside('ip', '-j', 'address', 'show', 'dev', PLACE)),
  );
  const ip = addresses.flatMap((each) => each.addr_info ?? []).find(({ family }) => family === 'inet');
  if (ip === undefined) {
    throw new ContainerError('NETWORK_FAILED', `the network gave machine ${id.slice(0, 12)} no IPv4 address`);
  }
  const routes = routesSchema.parse(JSON.parse(await inside('ip', '-j', '-4', 'route', 'show')));
  const gateway = routes.find(({ dst }) => dst === 'default')?.gateway;
  const script = [
    `ip link add ${BRIDGE} type bridge forward_delay 0`,
    `ip tuntap add ${TAP} mode tap`,
    `ip address flush dev ${PLACE}`,
    ...[PLACE, TAP].map((name) => `ip link set ${name} master ${BRIDGE}`),
    ...[PLACE, TAP, BRIDGE].map((name) => `ip link set ${name} up`),
  ];
  await inside('sh', '-ec', script.join('\n'));
  return {
    namespace,
    prefix: ip.prefixlen,
    interfaceName: TAP,
    macAddress: macAddress(id),
    guest: {
      address: ip.local,
      netmask: netmask(ip.prefixlen),
      ...(gateway === undefined ? {} : { gateway }),
    },
  };
}

/** Gives the address back to the interface, so that whoever takes the place apart finds it as it was made. Best effort. */
export async function unplugMachine({ namespace, prefix, guest }: Plug): Promise<void> {
  const script = [
    `ip link delete ${TAP}`,
    `ip link delete ${BRIDGE}`,
    `ip address add ${guest.address}/${prefix} dev ${PLACE}`,
  ];
  await run('nsenter', [`--net=${namespace}`, 'sh', '-c', script.join('; ')]);
}

/** The published ports as QEMU's own network forwards them. */
export function userForwards(ports: readonly PublishedPort[]): string[] {
  return ports.map(({ hostAddress, hostPort, containerPort, protocol }) => {
    const kind = (protocol ?? 'TCP').toLowerCase();
    // For this machine only, unless somebody says otherwise.
    return `${kind}:${hostAddress ?? '127.0.0.1'}:${hostPort}-:${containerPort}`;
  });
}

/** Locally administered, and the same for every start of a machine. */
export function macAddress(id: string): string {
  const bytes = createHash('sha256').update(id).digest().subarray(0, 5);
  return ['02', ...[...bytes].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

/** `24` as `255.255.255.0`. */
export function netmask(prefix: number): string {
  return [0, 8, 16, 24]
    .map((from) => Math.min(8, Math.max(0, prefix - from)))
    .map((bits) => 256 - 2 ** (8 - bits))
    .join('.');
}
