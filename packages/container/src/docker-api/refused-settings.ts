// Settings of Docker's that the engine does not have: a request that asks for one is refused, by name.

import { ContainerError } from '../errors.ts';
import type { HostConfigRequest } from './create-request.ts';

// A container is never run without what was asked for it: each of these is refused while its value asks for anything.
const REFUSED: readonly { field: string; harmless: readonly unknown[]; why: string }[] = [
  {
    field: 'Privileged',
    harmless: [false],
    why: 'privileged containers have no walls; give single capabilities',
  },
  { field: 'PidMode', harmless: [''], why: 'sharing process namespaces' },
  { field: 'IpcMode', harmless: ['', 'private', 'shareable', 'none'], why: 'sharing IPC namespaces' },
  { field: 'UTSMode', harmless: [''], why: 'sharing the host name' },
  { field: 'CgroupnsMode', harmless: ['', 'private', 'host'], why: 'this cgroup namespace' },
  { field: 'Cgroup', harmless: [''], why: 'joining a cgroup' },
  { field: 'CgroupParent', harmless: [''], why: 'choosing the parent cgroup' },
  { field: 'VolumesFrom', harmless: [], why: 'taking the volumes of another container; name the volumes' },
  { field: 'Links', harmless: [], why: 'links; use names on a network' },
  { field: 'DeviceRequests', harmless: [], why: 'GPUs' },
  { field: 'DeviceCgroupRules', harmless: [], why: 'cgroup rules for devices' },
  { field: 'VolumeDriver', harmless: ['', 'local'], why: 'volume drivers' },
  { field: 'Runtime', harmless: ['', 'runc', 'crun', 'io.containerd.runc.v2'], why: 'this runtime' },
  { field: 'Isolation', harmless: ['', 'default'], why: 'this isolation' },
  { field: 'StorageOpt', harmless: [], why: 'storage options' },
  { field: 'OomKillDisable', harmless: [false], why: 'disabling the OOM killer' },
  { field: 'KernelMemory', harmless: [0], why: 'kernel memory limits' },
  { field: 'CpusetMems', harmless: [''], why: 'memory nodes' },
  { field: 'CpuRealtimePeriod', harmless: [0], why: 'real-time scheduling' },
  { field: 'CpuRealtimeRuntime', harmless: [0], why: 'real-time scheduling' },
  { field: 'BlkioWeightDevice', harmless: [], why: 'disk weights by device' },
];

/** Throws `NOT_SUPPORTED` naming the first setting that cannot be kept. */
export function refuseUnsupported(host: HostConfigRequest): void {
  const given: Readonly<Record<string, unknown>> = { ...host };
  for (const { field, harmless, why } of REFUSED) {
    const value = given[field];
    if (value === undefined || value === null || harmless.includes(value)) continue;
    if (
      Array.isArray(value) ? value.length === 0 : typeof value === 'object' && Object.keys(value).length === 0
    )
      continue;
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot create the container: HostConfig.${field} is not supported (${why})`,
    );
  }
  for (const option of host.SecurityOpt ?? []) {
    // Containers never gain privileges here, so asking for it is no change.
    if (
      /^no-new-privileges(?:[:=]true)?$/.test(option) ||
      option === 'apparmor=unconfined' ||
      option === 'label=disable'
    )
      continue;
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot create the container: HostConfig.SecurityOpt "${option}" is not supported`,
      { hint: 'the engine’s own seccomp profile and no-new-privileges always hold' },
    );
  }
}
