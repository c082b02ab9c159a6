// Shapes of the API's answers. Resources are the core's own types.

import type {
  AlertResource,
  CenterResource,
  ContainerResource,
  NodeResource,
  ServiceResource,
} from '@heptad/core';

export type { AlertResource, CenterResource, ContainerResource, NodeResource, ServiceResource };

/** A page of a list. */
export interface ListPage<T> {
  readonly items: readonly T[];
  readonly nextCursor?: string;
}

/** What a login or a refresh answers. */
export interface Session {
  readonly accessToken: string;
  /** Wall time in milliseconds. */
  readonly expiresAt: number;
  readonly refreshToken?: string;
  readonly user: { readonly name: string; readonly roles: readonly string[] };
}

/** One thing the platform did. */
export interface PlatformEvent {
  readonly at: number;
  /** `Kind/namespace/name`. */
  readonly object: string;
  readonly op: string;
  readonly because: string;
  readonly source: string;
}

/** A line of a container's output. */
export interface LogLine {
  readonly at: number;
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
}

/** `GET /api/v1/storage`. */
export interface StorageSummary {
  readonly nodes: readonly {
    readonly id: string;
    readonly address: string;
    readonly state: 'up' | 'down';
    readonly usedBytes: number;
    readonly capacityBytes: number;
    readonly objects: number;
  }[];
  readonly health: string;
  readonly replicationFactor: number;
  readonly partitions: { readonly total: number; readonly underReplicated: number };
  readonly message: string;
}

/** `GET /api/v1/dr/status`. */
export interface RecoveryStatus {
  readonly centers: readonly CenterResource[];
  readonly prediction?: {
    readonly probability?: number;
    readonly switchAdvised: boolean;
    readonly because: string;
  };
  readonly message: string;
}

/** `GET /api/v1/monitoring/query`: the Prometheus answer. */
export interface QueryAnswer {
  readonly status: string;
  readonly data: {
    readonly resultType: string;
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly values?: readonly (readonly [number, string])[];
      readonly value?: readonly [number, string];
    }[];
  };
}
