// Virtual addresses: one stable IPv4 address for each service, out of one range.

import { HeptadError } from '@heptad/core';
import { hashIndex } from './identity.ts';

/** A range of IPv4 addresses. */
export interface AddressRange {
  readonly cidr: string;
  readonly first: number;
  readonly size: number;
}

/**
 * Parses `10.88.0.0/16`.
 *
 * @throws HeptadError `INVALID_ARGUMENT` for anything that is not an IPv4 range of /8 to /29.
 */
export function parseAddressRange(cidr: string): AddressRange {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(cidr);
  const octets = (match?.slice(1, 5) ?? []).map(Number);
  const prefix = Number(match?.[5]);
  if (match === null || octets.some((octet) => octet > 255) || prefix < 8 || prefix > 29) {
    throw new HeptadError('INVALID_ARGUMENT', `cannot use "${cidr}" as the range of virtual addresses`, {
      hint: 'write an IPv4 range such as 10.88.0.0/16, from /8 to /29',
    });
  }
  const size = 2 ** (32 - prefix);
  const address = octets.reduce((sum, octet) => sum * 256 + octet, 0);
  return { cidr, first: address - (address % size), size };
}

function addressText(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}

/**
 * The address for a service: where its name hashes to, else the next free one. Hashing gives a service the same
 * address when it is deployed again, and keeps two controllers from wanting the same address for different services.
 * The first two and the last address of the range stay free (network, gateway, broadcast). Undefined when all are taken.
 */
export function chooseAddress(
  range: AddressRange,
  owner: string,
  taken: { has(address: string): boolean },
): string | undefined {
  const usable = range.size - 3;
  const start = hashIndex(owner, usable);
  for (let step = 0; step < usable; step += 1) {
    const address = addressText(range.first + 2 + ((start + step) % usable));
    if (!taken.has(address)) return address;
  }
  return undefined;
}
