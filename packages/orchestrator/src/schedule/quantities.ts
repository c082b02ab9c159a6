// Sums, differences and texts of the four resources.

import type { ResourceQuantities } from '@heptad/core';

/** The four resources, in the order in which they are compared and shown. */
export const DIMENSIONS = ['cpuMillis', 'memoryBytes', 'storageBytes', 'networkMbps'] as const;
/** See {@link DIMENSIONS}. */
export type Dimension = (typeof DIMENSIONS)[number];

/** Nothing of anything. */
export const NO_RESOURCES: ResourceQuantities = {
  cpuMillis: 0,
  memoryBytes: 0,
  storageBytes: 0,
  networkMbps: 0,
};

/** Component-wise sum. */
export function addQuantities(a: ResourceQuantities, b: ResourceQuantities): ResourceQuantities {
  return {
    cpuMillis: a.cpuMillis + b.cpuMillis,
    memoryBytes: a.memoryBytes + b.memoryBytes,
    storageBytes: a.storageBytes + b.storageBytes,
    networkMbps: a.networkMbps + b.networkMbps,
  };
}

/** Component-wise equality. */
export function sameQuantities(a: ResourceQuantities, b: ResourceQuantities): boolean {
  return DIMENSIONS.every((dimension) => a[dimension] === b[dimension]);
}

const MIB = 1024 * 1024;

/** An amount with its unit, for sentences: `1500 millicores`, `512 MiB memory`. */
export function quantityText(dimension: Dimension, amount: number): string {
  switch (dimension) {
    case 'cpuMillis':
      return `${amount} millicores CPU`;
    case 'memoryBytes':
      return `${mebibytes(amount)} MiB memory`;
    case 'storageBytes':
      return `${mebibytes(amount)} MiB storage`;
    case 'networkMbps':
      return `${amount} Mbit/s network`;
  }
}

/** The free amount in the sentence `needs 2048 MiB memory, 512 MiB free`. */
export function freeText(dimension: Dimension, amount: number): string {
  switch (dimension) {
    case 'cpuMillis':
      return `${amount} millicores free`;
    case 'memoryBytes':
    case 'storageBytes':
      return `${mebibytes(amount)} MiB free`;
    case 'networkMbps':
      return `${amount} Mbit/s free`;
  }
}

function mebibytes(bytes: number): string {
  const value = bytes / MIB;
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}
