// The error for what a driver cannot do: it names the driver that can.

import { ContainerError } from '../errors.ts';

/** `NOT_SUPPORTED`: `cannot DOING: the DRIVER runtime has no such ability`, with the driver that `has` it. */
export function notSupported(driver: string, doing: string, has = 'oci'): ContainerError {
  return new ContainerError(
    'NOT_SUPPORTED',
    `cannot ${doing}: the ${driver} runtime has no such ability here`,
    {
      hint:
        driver === has
          ? 'the reasons of probe() say what is missing and how to get it'
          : `the ${has} runtime has it`,
      details: { driver: has },
    },
  );
}
