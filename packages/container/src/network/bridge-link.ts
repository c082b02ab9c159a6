// The Linux bridge itself: made with the gateway's address, and taken away.

import { createHash } from 'node:crypto';
import { ContainerError } from '../errors.ts';
import { run, runOrThrow } from '../system/command.ts';

const BRIDGE_NAME = /^[a-zA-Z][a-zA-Z0-9_.-]{0,14}$/;

/** Throws `INVALID_ARGUMENT` unless `name` can be that of an interface. */
export function requireBridgeName(name: string): void {
  if (BRIDGE_NAME.test(name)) return;
  throw new ContainerError('INVALID_ARGUMENT', `"${name}" is not a name for a network interface`, {
    hint: 'at most 15 letters, digits, "_", "." and "-"',
  });
}

/** Whether the machine has an interface of this name. */
export async function linkExists(name: string): Promise<boolean> {
  return (await run('ip', ['link', 'show', 'dev', name])).exitCode === 0;
}

/**
 * A locally administered unicast address. Without one of its own a bridge takes the lowest of its ports', and with another as
 * ports come and go: then, for half a minute, the containers that stay cannot reach the gateway they remember.
 */
function hardwareAddress(of: string): string {
  const [, ...rest] = createHash('sha256').update(of).digest().subarray(0, 6);
  return ['02', ...rest.map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

/** Makes the bridge, up and with `address` (`10.87.0.1/16`). Idempotent. */
export async function ensureBridgeLink(name: string, address: string): Promise<void> {
  if (!(await linkExists(name))) {
    const hardware = ['address', hardwareAddress(`${name} ${address}`)];
    const added = await run('ip', ['link', 'add', 'name', name, ...hardware, 'type', 'bridge']);
    // Another process may have made it at the same moment.
    if (added.exitCode !== 0 && !/File exists/.test(added.stderr)) {
      throw new ContainerError('NETWORK_FAILED', `cannot make bridge ${name}: ${added.stderr.trim()}`);
    }
  }
  await runOrThrow('ip', ['address', 'replace', address, 'dev', name]);
  await runOrThrow('ip', ['link', 'set', name, 'up']);
}

/** Deletes the bridge; missing is fine. */
export async function removeBridgeLink(name: string): Promise<void> {
  const { exitCode, stderr } = await run('ip', ['link', 'delete', name]);
  if (exitCode !== 0 && !/Cannot find device/.test(stderr)) {
    throw new ContainerError('NETWORK_FAILED', `cannot delete bridge ${name}: ${stderr.trim()}`);
  }
}
