// The devices of a container: those that every container has, and those of the host that it was given.

import { lstat, realpath, stat } from 'node:fs/promises';
import type { DeviceMapping } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import type { OciDevice, OciResources } from './spec.ts';

// null, zero, full, tty, urandom, random, console, ptmx and pseudo-terminals: what every runtime allows.
const ALLOWED_DEVICES: readonly (readonly [number, number | undefined])[] = [
  [1, 3],
  [1, 5],
  [1, 7],
  [1, 8],
  [1, 9],
  [5, 0],
  [5, 1],
  [5, 2],
  [136, undefined],
];

/** A device of the host, looked up. */
export interface ResolvedDevice {
  readonly node: OciDevice;
  readonly access: string;
}

/** Rules of the device cgroup: nothing but the usual, and what was given. */
export function deviceRules(given: readonly ResolvedDevice[]): NonNullable<OciResources['devices']> {
  return [
    { allow: false, access: 'rwm' },
    ...ALLOWED_DEVICES.map(([major, minor]) => ({
      allow: true,
      type: 'c',
      major,
      ...(minor === undefined ? {} : { minor }),
      access: 'rwm',
    })),
    ...given.map(({ node: { type, major, minor }, access }) => ({ allow: true, type, major, minor, access })),
  ];
}

/** Looks devices of the host up. Throws `PATH_NOT_FOUND`, or `INVALID_ARGUMENT` for what is no device. */
export async function resolveDevices(
  devices: readonly DeviceMapping[],
  name: string,
): Promise<ResolvedDevice[]> {
  return await Promise.all(devices.map((device) => resolve(device, name)));
}

async function resolve(device: DeviceMapping, name: string): Promise<ResolvedDevice> {
  const { type, major, minor, mode, uid, gid } = await deviceNumbers(
    device.hostPath,
    `create container "${name}"`,
  );
  const path = device.containerPath ?? device.hostPath;
  return {
    node: { path, type, major, minor, fileMode: mode & 0o777, uid, gid },
    access: device.permissions ?? 'rw',
  };
}

/** What a device of the host is. Throws `PATH_NOT_FOUND`, `INVALID_ARGUMENT`. */
export async function deviceNumbers(
  path: string,
  doing: string,
): Promise<{ type: 'b' | 'c'; major: number; minor: number; mode: number; uid: number; gid: number }> {
  const real = await realpath(path).catch((cause: unknown) => {
    if (errnoOf(cause) !== 'ENOENT') throw cause;
    throw new ContainerError('PATH_NOT_FOUND', `cannot ${doing}: the host has no device ${path}`, {
      cause,
      hint: 'ls /dev shows what the host has; its driver may have to be loaded',
    });
  });
  const info = await stat(real);
  if (!info.isBlockDevice() && !info.isCharacterDevice()) {
    throw new ContainerError('INVALID_ARGUMENT', `cannot ${doing}: ${path} is not a device`, {
      hint: 'files and directories are given with "mounts"',
    });
  }
  const { mode, uid, gid } = await lstat(real);
  return { type: info.isBlockDevice() ? 'b' : 'c', ...split(info.rdev), mode, uid, gid };
}

/** glibc's `major` and `minor` of a device number. */
function split(rdev: number): { major: number; minor: number } {
  const number = BigInt(rdev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn);
  const minor = (number & 0xffn) | ((number >> 12n) & ~0xffn & 0xffffffffn);
  return { major: Number(major), minor: Number(minor) };
}
