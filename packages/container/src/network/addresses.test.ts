import { expect, it } from 'vitest';
import { addressFor } from '../process/addresses.ts';
import { addressAt, contains, parseSubnet } from './addresses.ts';

it('computes addresses of a subnet', () => {
  const subnet = parseSubnet('10.87.3.9/16');
  expect([addressAt(subnet, 0), addressAt(subnet, 1), addressAt(subnet, 65_535)]).toEqual([
    '10.87.0.0',
    '10.87.0.1',
    '10.87.255.255',
  ]);
  expect([contains(subnet, '10.87.200.1'), contains(subnet, '10.88.0.0'), contains(subnet, 'x')]).toEqual([
    true,
    false,
    false,
  ]);
  for (const bad of ['10.0.0.0', '10.0.0.0/31', '10.0.0.300/16', 'x/16', '10.0.0.0/4'])
    expect(() => parseSubnet(bad)).toThrow(/is not a subnet/);
});

it('gives loopback addresses that are never a network or broadcast address', () => {
  const all = Array.from({ length: 256 * 254 + 1 }, (_, index) => addressFor(index));
  expect(new Set(all).size).toBe(256 * 254);
  expect(all.every((address) => /^127\.87\.\d+\.\d+$/.test(address) && !/\.(0|255)$/.test(address))).toBe(
    true,
  );
});
