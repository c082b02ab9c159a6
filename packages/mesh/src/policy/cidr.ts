// CIDR ranges: does an address lie in one?

import { BlockList, isIP } from 'node:net';

/** An address as policies compare it: IPv4 inside IPv6 (`::ffff:10.0.0.1`) is the IPv4 address; zone ids go. */
export function normalAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped?.[1] !== undefined) return mapped[1];
  const zone = address.indexOf('%');
  return zone < 0 ? address : address.slice(0, zone);
}

/** A tester for `10.0.0.0/8`, `fd00::/8` or a single address; `undefined` when the text is none of these. */
export function parseCidr(text: string): ((address: string) => boolean) | undefined {
  const match = /^([0-9a-fA-F:.]+)(?:\/(\d{1,3}))?$/.exec(text);
  const network = match?.[1];
  if (network === undefined) return undefined;
  const version = isIP(network);
  const bits = version === 4 ? 32 : 128;
  const prefix = match?.[2] === undefined ? bits : Number(match[2]);
  if (version === 0 || prefix > bits) return undefined;
  const list = new BlockList();
  const family = version === 4 ? 'ipv4' : 'ipv6';
  list.addSubnet(network, prefix, family);
  return (address) => {
    const normal = normalAddress(address);
    return isIP(normal) === version && list.check(normal, family);
  };
}
