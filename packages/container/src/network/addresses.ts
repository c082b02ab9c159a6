// IPv4 arithmetic for subnets.

import { ContainerError } from '../errors.ts';

/** A subnet taken apart. */
export interface Subnet {
  readonly base: number;
  readonly prefix: number;
}

/** Parses `10.87.0.0/16`. Throws `INVALID_ARGUMENT`. */
export function parseSubnet(text: string): Subnet {
  const match = /^([0-9.]+)\/(\d{1,2})$/.exec(text);
  const address = match?.[1] === undefined ? undefined : ipv4Number(match[1]);
  const prefix = Number(match?.[2]);
  // Below /30 there is no room for a gateway and one container.
  if (address === undefined || prefix < 8 || prefix > 30) {
    throw new ContainerError('INVALID_ARGUMENT', `"${text}" is not a subnet`, {
      hint: 'write it like 10.87.0.0/16',
    });
  }
  const size = 2 ** (32 - prefix);
  return { base: Math.floor(address / size) * size, prefix };
}

/** The n-th address of a subnet. */
export function addressAt(subnet: Subnet, index: number): string {
  const value = subnet.base + index;
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}

/** Whether an address lies in a subnet. */
export function contains(subnet: Subnet, address: string): boolean {
  const value = ipv4Number(address);
  return value !== undefined && value >= subnet.base && value < subnet.base + 2 ** (32 - subnet.prefix);
}

function ipv4Number(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || parts.some((part) => !/^\d{1,3}$/.test(part) || Number(part) > 255))
    return undefined;
  return parts.reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** Whether two subnets have an address in common. */
export function overlap(one: Subnet, other: Subnet): boolean {
  const size = (subnet: Subnet): number => 2 ** (32 - subnet.prefix);
  return one.base < other.base + size(other) && other.base < one.base + size(one);
}
