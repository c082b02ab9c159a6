// Refuses wishes about isolation that can never be fulfilled: devices, kernel settings, ids, limits of getrlimit.

import { isIP } from 'node:net';
import type { ContainerSpec, IdMapping, UserNamespace } from '@heptad/core';
import { requireMountTarget } from './kernel-paths.ts';

type Refuse = (what: string, hint?: string) => never;

const MAX_ID = 4_294_967_294;
const MIN_SHM_BYTES = 4096;
/** Names of getrlimit(2), as in systemd and Docker. */
export const ULIMIT_NAMES: readonly string[] =
  'as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack'.split(
    ' ',
  );
/** Kernel settings that belong to a namespace of the container; any other would change the machine. */
const NAMESPACED_SYSCTL =
  /^(net\.[a-zA-Z0-9_./-]+|kernel\.(shm_rmid_forced|shmall|shmmax|shmmni|msgmax|msgmnb|msgmni|sem)|fs\.mqueue\.[a-z_]+)$/;
const ALIAS = /^[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,62})$/;

/** Calls `refuse` for the first wish that cannot be. */
export function validateIsolation(spec: ContainerSpec, refuse: Refuse): void {
  for (const { hostPath, containerPath, permissions } of spec.devices ?? []) {
    if (!hostPath.startsWith('/dev/')) refuse(`device "${hostPath}" is not below /dev`);
    const target = containerPath ?? hostPath;
    if (!target.startsWith('/') || target.includes('/../'))
      refuse(`device path "${target}" is not an absolute path`);
    requireMountTarget(target, `create container "${spec.name}"`);
    if (permissions !== undefined && !/^[rwm]{1,3}$/.test(permissions)) {
      refuse(`permissions "${permissions}" of device ${hostPath} are not of r, w and m`);
    }
  }
  for (const [name, value] of Object.entries(spec.sysctls ?? {})) validateSysctl(spec, name, value, refuse);
  for (const [name, { soft, hard }] of Object.entries(spec.ulimits ?? {})) {
    if (!ULIMIT_NAMES.includes(name))
      refuse(`there is no ulimit "${name}"`, `ulimits are ${ULIMIT_NAMES.join(', ')}`);
    const valid = (value: number): boolean => Number.isSafeInteger(value) && value >= -1;
    if (!valid(soft) || !valid(hard)) refuse(`ulimit ${name} is not a whole number of at least -1`);
    if (hard !== -1 && (soft === -1 || soft > hard)) refuse(`the soft ulimit ${name} is above the hard one`);
  }
  if (spec.userNamespace !== undefined) validateUserNamespace(spec.userNamespace, refuse);
  const shm = spec.shmBytes;
  if (shm !== undefined && !(Number.isSafeInteger(shm) && shm >= MIN_SHM_BYTES)) {
    refuse(`shmBytes = ${shm} is below the minimum of ${MIN_SHM_BYTES}`);
  }
  const score = spec.oomScoreAdjust;
  if (score !== undefined && !(Number.isInteger(score) && score >= -1000 && score <= 1000)) {
    refuse(`oomScoreAdjust = ${score} is not between -1000 and 1000`);
  }
  for (const server of spec.dns?.servers ?? [])
    if (isIP(server) === 0) refuse(`DNS server "${server}" is not an IP address`);
  for (const word of [...(spec.dns?.search ?? []), ...(spec.dns?.options ?? [])]) {
    if (!/^[^\s]+$/.test(word)) refuse(`DNS setting "${word}" is not one word`);
  }
  for (const alias of spec.networkAliases ?? [])
    if (!ALIAS.test(alias)) refuse(`network alias "${alias}" is not a name`);
}

function validateSysctl(spec: ContainerSpec, name: string, value: string, refuse: Refuse): void {
  if (!NAMESPACED_SYSCTL.test(name) || name.includes('..')) {
    refuse(
      `kernel setting "${name}" is not one of a container's own`,
      'allowed are net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.*; others are set on the host',
    );
  }
  if (/[\0\n]/.test(value)) refuse(`the value of kernel setting ${name} is not one line`);
  if (name.startsWith('net.') && spec.network === 'host') {
    refuse(`kernel setting ${name} would change the machine's own network`);
  }
}

function validateUserNamespace(wanted: UserNamespace, refuse: Refuse): void {
  if (typeof wanted === 'string') {
    if (wanted !== 'host' && wanted !== 'auto')
      refuse(`userNamespace "${String(wanted)}" is not host or auto`);
    return;
  }
  for (const [kind, ranges] of [
    ['uids', wanted.uids],
    ['gids', wanted.gids],
  ] as const) {
    if (!covers(ranges, 0)) refuse(`userNamespace.${kind} maps no id to the container's 0`);
    for (const range of ranges) {
      const numbers = [range.containerId, range.hostId, range.size];
      if (!numbers.every((value) => Number.isSafeInteger(value) && value >= 0) || range.size === 0) {
        refuse(`userNamespace.${kind} has a range that is not of whole numbers`);
      }
      if (Math.max(range.containerId, range.hostId) + range.size - 1 > MAX_ID) {
        refuse(`userNamespace.${kind} has a range that goes beyond ${MAX_ID}`);
      }
    }
    // A mapping onto the host's root would isolate nothing while it looks as if it did.
    if (ranges.some(({ hostId }) => hostId === 0)) refuse(`userNamespace.${kind} maps onto the host's root`);
  }
}

function covers(ranges: readonly IdMapping[], id: number): boolean {
  return ranges.some(({ containerId, size }) => containerId <= id && id < containerId + size);
}
