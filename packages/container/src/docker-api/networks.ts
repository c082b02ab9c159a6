// Networks as Docker lists them: the engine's bridge under Docker's name for it, `host` and `none`.

import { createHash } from 'node:crypto';
import { ContainerError } from '../errors.ts';

/** A network that containers can name. */
export interface ApiNetwork {
  readonly id: string;
  readonly name: string;
  readonly driver: 'bridge' | 'host' | 'null';
  /** What the runtime calls it; undefined: its default. */
  readonly runtimeName: string | undefined;
  readonly subnet?: string | undefined;
  readonly gateway?: string | undefined;
  readonly bridgeName?: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: number;
  /** Made by a client; the others cannot be removed. */
  readonly removable: boolean;
}

/** The engine's own bridge, as the API needs to know it. */
export interface BridgeDescription {
  readonly name: string;
  /** Its addresses, as `10.87.0.0/16`. */
  readonly subnetText?: string | undefined;
  readonly gateway?: string | undefined;
  readonly bridgeName?: string | undefined;
}

/** Knows networks by name and id. */
export class ApiNetworks {
  private readonly fixed: readonly ApiNetwork[];

  constructor(bridge: BridgeDescription | undefined, startedAt: number) {
    const fixed = (name: string, driver: ApiNetwork['driver'], runtimeName: string): ApiNetwork => ({
      id: networkId(name),
      name,
      driver,
      runtimeName,
      labels: {},
      createdAt: startedAt,
      removable: false,
    });
    this.fixed = [
      ...(bridge === undefined
        ? []
        : [
            {
              ...fixed('bridge', 'bridge', bridge.name),
              subnet: bridge.subnetText,
              gateway: bridge.gateway,
              bridgeName: bridge.bridgeName,
            },
          ]),
      fixed('host', 'host', 'host'),
      fixed('none', 'null', 'none'),
    ];
  }

  /** All of them. */
  list(): readonly ApiNetwork[] {
    return this.fixed;
  }

  /** The one with this name, id or beginning of an id. Throws `NETWORK_NOT_FOUND`. */
  find(reference: string): ApiNetwork {
    const all = this.list();
    const exact = all.find(({ name, id }) => name === reference || id === reference);
    const byPrefix = all.filter(({ id }) => reference.length >= 4 && id.startsWith(reference));
    const found = exact ?? (byPrefix.length === 1 ? byPrefix[0] : undefined);
    if (found !== undefined) return found;
    throw new ContainerError('NETWORK_NOT_FOUND', `network ${reference} not found`);
  }

  /** The one of containers that name none: the engine's bridge, `none` without. */
  byDefault(): ApiNetwork | undefined {
    return this.list().find(({ driver }) => driver === 'bridge') ?? this.list().at(-1);
  }

  /** The one a container of the runtime's network `name` is in. */
  ofRuntime(name: string | undefined): ApiNetwork | undefined {
    const all = this.list();
    if (name === undefined || name === 'default') return this.byDefault();
    return all.find(({ runtimeName }) => runtimeName === name);
  }
}

/** An id that is the same at every start. */
export function networkId(name: string): string {
  return createHash('sha256').update(`heptad-network:${name}`).digest('hex');
}
