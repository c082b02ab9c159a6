// Limits as cgroup settings of the OCI runtime specification.

import type { IoThrottle, ResourceLimits } from '@heptad/core';
import { deviceNumbers } from './devices.ts';
import type { OciBlockIo, OciResources } from './spec.ts';

const CPU_PERIOD_US = 100_000;
// cgroup v1: 1024 shares are what weight 100 is in v2, the default of both.
const SHARES_OF_DEFAULT = 1024;
const DEFAULT_WEIGHT = 100;
const MIN_SHARES = 2;
const MAX_SHARES = 262_144;

/** Rates for devices whose numbers are known. */
export interface ResolvedThrottle extends IoThrottle {
  readonly major: number;
  readonly minor: number;
}

/** Looks up the devices of throttles. Throws `PATH_NOT_FOUND`, `INVALID_ARGUMENT`. */
export async function resolveThrottles(
  throttles: readonly IoThrottle[],
  doing: string,
): Promise<ResolvedThrottle[]> {
  return await Promise.all(
    throttles.map(async (throttle) => {
      const [, major, minor] = /^(\d+):(\d+)$/.exec(throttle.device) ?? [];
      if (major !== undefined) return { ...throttle, major: Number(major), minor: Number(minor) };
      return { ...throttle, ...(await deviceNumbers(throttle.device, doing)) };
    }),
  );
}

/** Limits as cgroup settings. Swap is not given on top of memory unless asked for: the limit is the limit. */
export function limitResources(
  limits: ResourceLimits,
  throttles: readonly ResolvedThrottle[] = [],
  cgroupVersion: 1 | 2 = 1,
): OciResources {
  const { memoryBytes, memorySwapBytes, cpuWeight, ioWeight, pids } = limits;
  const cpu = cpuOf(limits);
  // The runtime knows weights of v2 only as shares of v1, by a formula that changed between versions: they go as they are.
  const unified: Record<string, string> = {};
  if (cgroupVersion === 2 && cpuWeight !== undefined) unified['cpu.weight'] = String(cpuWeight);
  if (cgroupVersion === 2 && ioWeight !== undefined) unified['io.weight'] = String(ioWeight);
  const blockIo = {
    ...(ioWeight === undefined || cgroupVersion === 2 ? {} : { weight: legacyIoWeight(ioWeight) }),
    ...throttleResources(throttles),
  };
  return {
    ...(memoryBytes === undefined
      ? {}
      : { memory: { limit: memoryBytes, swap: memorySwapBytes ?? memoryBytes } }),
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    ...(pids === undefined ? {} : { pids: { limit: pids } }),
    ...(Object.keys(blockIo).length === 0 ? {} : { blockIO: blockIo }),
    ...(Object.keys(unified).length === 0 ? {} : { unified }),
  };
}

function cpuOf({ cpuMillis, cpuWeight, cpuset }: ResourceLimits): NonNullable<OciResources['cpu']> {
  // Shares follow the quota (1024 = one core), so that a busy machine divides itself in the asked proportion.
  const shares =
    cpuWeight !== undefined
      ? (cpuWeight * SHARES_OF_DEFAULT) / DEFAULT_WEIGHT
      : cpuMillis === undefined
        ? undefined
        : (cpuMillis * SHARES_OF_DEFAULT) / 1000;
  return {
    ...(cpuMillis === undefined
      ? {}
      : { period: CPU_PERIOD_US, quota: Math.round((cpuMillis * CPU_PERIOD_US) / 1000) }),
    ...(shares === undefined
      ? {}
      : { shares: Math.max(MIN_SHARES, Math.min(MAX_SHARES, Math.round(shares))) }),
    ...(cpuset === undefined ? {} : { cpus: cpuset }),
  };
}

/** v2's 1..10000 as v1's 10..1000, 100 staying 100. */
function legacyIoWeight(weight: number): number {
  return Math.max(10, Math.min(1000, weight));
}

function throttleResources(throttles: readonly ResolvedThrottle[]): OciBlockIo {
  const rates = (
    pick: (throttle: ResolvedThrottle) => number | undefined,
  ): { major: number; minor: number; rate: number }[] =>
    throttles.flatMap((throttle) => {
      const rate = pick(throttle);
      return rate === undefined ? [] : [{ major: throttle.major, minor: throttle.minor, rate }];
    });
  const all = {
    throttleReadBpsDevice: rates(({ readBytesPerSecond }) => readBytesPerSecond),
    throttleWriteBpsDevice: rates(({ writeBytesPerSecond }) => writeBytesPerSecond),
    throttleReadIOPSDevice: rates(({ readOperationsPerSecond }) => readOperationsPerSecond),
    throttleWriteIOPSDevice: rates(({ writeOperationsPerSecond }) => writeOperationsPerSecond),
  };
  return Object.fromEntries(Object.entries(all).filter(([, list]) => list.length > 0));
}
