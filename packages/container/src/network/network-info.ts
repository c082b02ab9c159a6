// What is said of networks: what one is to be, what it is, and which ports lead in.

import type { ContainerId } from '@heptad/core';
import type { ExposedPort } from './backend.ts';

/** What a network is to be. */
export interface NetworkSpec {
  /** Letters, digits, "_", "." and "-", at most 63; not `none`, `host` or `bridge`. */
  readonly name: string;
  /** Default a free /24 of 10.89.0.0/16 and 10.90.0.0/16. */
  readonly subnet?: string;
  /** The host's address on it. Default the first of the subnet. */
  readonly gateway?: string;
  /** Name of the Linux bridge, at most 15 characters. Default one of the engine's choice. */
  readonly bridgeName?: string;
  /** Containers reach the host but not each other. Default false. */
  readonly isolated?: boolean;
  /** Containers reach what the host reaches. Default: the opposite of `internal` and `isolated`. */
  readonly masquerade?: boolean;
  /** Containers find each other by name. Default true, unless isolated. */
  readonly dns?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
}

/** A network as it is. */
export interface NetworkInfo {
  readonly name: string;
  readonly subnet: string;
  readonly gateway: string;
  readonly bridgeName: string;
  readonly isolated: boolean;
  readonly dns: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** Milliseconds since 1970; 0 for the default network, which was not made by anybody. */
  readonly createdAt: number;
  /** Containers that are on it now. */
  readonly containers: readonly NetworkMember[];
}

/** A container on a network. */
export interface NetworkMember {
  readonly id: ContainerId;
  readonly address: string;
  /** All names under which the others find it. */
  readonly names: readonly string[];
}

/** A port of the host that leads into a container, and who can reach it. */
export interface PortExposure extends ExposedPort {
  /** `machine`: programs of this machine only; `network`: whoever reaches one of the host's addresses and is let through. */
  readonly reach: 'machine' | 'network';
}
