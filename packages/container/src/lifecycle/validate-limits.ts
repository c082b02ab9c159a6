// Refuses resource limits that can never be enforced, or below what a process needs to exist.

import type { IoThrottle, ResourceLimits } from '@heptad/core';
import { ContainerError } from '../errors.ts';

// Below these the runtime's own init does not get going, and the failure would be obscure.
const MIN_CPU_MILLIS = 10;
const MIN_MEMORY_BYTES = 4 * 1024 * 1024;
const MAX_WEIGHT = 10_000;
const CPU_LIST = /^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/;
const DEVICE = /^(\/dev\/[^\0]+|\d+:\d+)$/;
const MAX_THROTTLES = 64;

/** Throws `INVALID_ARGUMENT` naming the limit that is wrong, and the least it may be. */
export function validateLimits(limits: ResourceLimits, doing: string): void {
  const refuse = (what: string, hint?: string): never => {
    throw new ContainerError('INVALID_ARGUMENT', `cannot ${doing}: limits.${what}`, {
      ...(hint === undefined ? {} : { hint }),
    });
  };
  const atLeast = (field: 'cpuMillis' | 'memoryBytes' | 'pids', minimum: number): void => {
    const value = limits[field];
    if (value === undefined || (Number.isSafeInteger(value) && value >= minimum)) return;
    refuse(
      `${field} = ${value} is below the minimum of ${minimum}`,
      `give a whole number of at least ${minimum}, or leave ${field} out for no limit`,
    );
  };
  atLeast('cpuMillis', MIN_CPU_MILLIS);
  atLeast('memoryBytes', MIN_MEMORY_BYTES);
  atLeast('pids', 1);
  for (const field of ['cpuWeight', 'ioWeight'] as const) {
    const value = limits[field];
    if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= MAX_WEIGHT)) {
      refuse(`${field} = ${value} is not between 1 and ${MAX_WEIGHT}`);
    }
  }
  validateSwap(limits, refuse);
  if (limits.cpuset !== undefined && !CPU_LIST.test(limits.cpuset)) {
    refuse(`cpuset = "${limits.cpuset}" is not a list of CPUs`, 'write it like 0-1,3');
  }
  if ((limits.ioThrottles?.length ?? 0) > MAX_THROTTLES)
    refuse(`ioThrottles has over ${MAX_THROTTLES} entries`);
  for (const throttle of limits.ioThrottles ?? []) validateThrottle(throttle, refuse);
}

function validateSwap(
  { memoryBytes, memorySwapBytes }: ResourceLimits,
  refuse: (what: string) => never,
): void {
  if (memorySwapBytes === undefined || memorySwapBytes === -1) return;
  if (!Number.isSafeInteger(memorySwapBytes))
    refuse(`memorySwapBytes = ${memorySwapBytes} is not a whole number`);
  // An update may give it alone: the runtime then compares it with the limit in force.
  if (memoryBytes !== undefined && memorySwapBytes < memoryBytes) {
    refuse(`memorySwapBytes = ${memorySwapBytes} is below memoryBytes; it counts memory and swap together`);
  }
}

function validateThrottle(throttle: IoThrottle, refuse: (what: string, hint?: string) => never): void {
  const { device, ...rates } = throttle;
  if (!DEVICE.test(device)) {
    refuse(`ioThrottles device "${device}" is not a block device`, 'write it like /dev/vda or 254:0');
  }
  for (const [name, rate] of Object.entries(rates)) {
    if (!Number.isSafeInteger(rate) || rate < 1)
      refuse(`ioThrottles ${name} = ${rate} is not a positive number`);
  }
}
