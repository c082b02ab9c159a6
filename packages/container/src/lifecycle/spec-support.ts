// Refuses a spec that asks for what the driver cannot do: it is never run without what it asks for.

import type { ContainerSpec, RuntimeCapabilities } from '@heptad/core';
import { notSupported } from './not-supported.ts';

/** Each wish of a spec, the capability it needs, and how to say it. */
const WISHES: readonly {
  readonly needs: Exclude<keyof RuntimeCapabilities, 'isolation'>;
  readonly what: string;
  readonly asked: (spec: ContainerSpec) => boolean;
}[] = [
  { needs: 'tty', what: 'with a terminal', asked: ({ tty }) => tty === true },
  { needs: 'stdin', what: 'with open standard input', asked: ({ openStdin }) => openStdin === true },
  { needs: 'init', what: 'with an init process', asked: ({ init }) => init === true },
  { needs: 'devices', what: 'with devices', asked: ({ devices }) => (devices?.length ?? 0) > 0 },
  {
    needs: 'userNamespaces',
    what: 'with a user namespace',
    asked: ({ userNamespace }) => userNamespace !== undefined && userNamespace !== 'host',
  },
  { needs: 'mounts', what: 'with mounts', asked: ({ mounts }) => (mounts?.length ?? 0) > 0 },
  {
    needs: 'exec',
    what: 'with a health check',
    asked: ({ healthCheck }) => healthCheck !== undefined && healthCheck !== 'none',
  },
];

/** Throws `NOT_SUPPORTED` for the first wish that the driver cannot fulfil. */
export function requireSupported(
  { name: driver, capabilities }: { readonly name: string; readonly capabilities: RuntimeCapabilities },
  spec: ContainerSpec,
): void {
  if (spec.runtime !== undefined && spec.runtime !== driver) {
    throw notSupported(
      driver,
      `create container "${spec.name}" with the ${spec.runtime} runtime`,
      spec.runtime,
    );
  }
  const wish = WISHES.find(({ needs, asked }) => !capabilities[needs] && asked(spec));
  if (wish !== undefined) throw notSupported(driver, `create container "${spec.name}" ${wish.what}`);
}
