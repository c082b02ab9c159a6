// Networks as Docker lists them: those of the engine, `host` and `none`.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import type { NetworkInfo } from '../network/network-info.ts';
import type { Networks } from '../network/networks.ts';

/** A network that containers can name. */
export interface ApiNetwork {
  readonly id: string;
  readonly name: string;
  readonly driver: 'bridge' | 'host' | 'null';
  readonly subnet?: string | undefined;
  readonly gateway?: string | undefined;
  readonly bridgeName?: string | undefined;
  /** Its containers do not reach each other. */
  readonly isolated: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** As they were given: Compose compares them with what it wants. */
  readonly options: Readonly<Record<string, string>>;
  readonly createdAt: number;
  /** Made by a client; the others cannot be removed. */
  readonly removable: boolean;
}

/** The networks of an engine that has them. */
export type ServedNetworks = Pick<Networks, 'connect' | 'create' | 'disconnect' | 'list' | 'remove'>;

/** Keeps the options of a network that a client made. */
export const OPTIONS_LABEL = 'dev.heptad.docker-options';
const optionsSchema = z.record(z.string(), z.string());

/** Docker's own name for the network of containers that name none. */
const DEFAULT_NAME = 'bridge';

/** Knows networks by name and id. */
export class ApiNetworks {
  private readonly engine: ServedNetworks | undefined;
  private readonly startedAt: number;
  private known: readonly ApiNetwork[] = [];

  constructor(engine: ServedNetworks | undefined, startedAt: number) {
    this.engine = engine;
    this.startedAt = startedAt;
  }

  /** Looks at the engine's networks; what follows answers from this look. */
  async refresh(): Promise<void> {
    const own = (await this.engine?.list()) ?? [];
    this.known = [
      ...own.map((info) => this.ofEngine(info)),
      this.special('host', 'host'),
      this.special('none', 'null'),
    ];
  }

  /** What networks are made and joined by. Throws `NOT_SUPPORTED` for an engine without. */
  get engineNetworks(): ServedNetworks {
    if (this.engine !== undefined) return this.engine;
    throw new ContainerError('NOT_SUPPORTED', 'this engine has no networks of its own', {
      hint: 'open it with the oci runtime',
    });
  }

  /** All of them, the engine's first. */
  list(): readonly ApiNetwork[] {
    return this.known;
  }

  /** The one with this name, id or beginning of an id. Throws `NETWORK_NOT_FOUND`. */
  find(reference: string): ApiNetwork {
    const exact = this.known.find(({ name, id }) => name === reference || id === reference);
    const byPrefix = this.known.filter(({ id }) => reference.length >= 4 && id.startsWith(reference));
    const found = exact ?? (byPrefix.length === 1 ? byPrefix[0] : undefined);
    if (found !== undefined) return found;
    throw new ContainerError('NETWORK_NOT_FOUND', `network ${reference} not found`);
  }

  /** The one of containers that name none: the engine's bridge, `none` without. */
  byDefault(): ApiNetwork | undefined {
    return (
      this.known.find(({ name, driver }) => name === DEFAULT_NAME && driver === 'bridge') ?? this.known.at(-1)
    );
  }

  /** The one that the runtime, or a client, calls `name`. */
  named(name: string): ApiNetwork | undefined {
    if (name === 'default') return this.byDefault();
    return this.known.find((network) => network.name === name || network.id === name);
  }

  private ofEngine(info: NetworkInfo): ApiNetwork {
    const made = info.createdAt > 0;
    return {
      id: networkId(`${info.name}:${info.createdAt}`),
      name: info.name,
      driver: 'bridge',
      subnet: info.subnet,
      gateway: info.gateway,
      bridgeName: info.bridgeName,
      isolated: info.isolated,
      ...labelsAndOptions(info),
      createdAt: made ? info.createdAt : this.startedAt,
      removable: made,
    };
  }

  private special(name: string, driver: 'host' | 'null'): ApiNetwork {
    const { startedAt } = this;
    return {
      id: networkId(name),
      name,
      driver,
      isolated: false,
      labels: {},
      options: {},
      createdAt: startedAt,
      removable: false,
    };
  }
}

function labelsAndOptions(info: NetworkInfo): Pick<ApiNetwork, 'labels' | 'options'> {
  const { [OPTIONS_LABEL]: kept, ...labels } = info.labels;
  if (kept === undefined) return { labels, options: {} };
  try {
    const parsed = optionsSchema.safeParse(JSON.parse(kept));
    return { labels, options: parsed.success ? parsed.data : {} };
  } catch {
    // Somebody else's label of that name.
    return { labels: info.labels, options: {} };
  }
}

/** An id that is the same at every start. */
function networkId(of: string): string {
  return createHash('sha256').update(`heptad-network:${of}`).digest('hex');
}
