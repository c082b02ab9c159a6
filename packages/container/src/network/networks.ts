// The networks of an engine: made, listed, removed; containers join and leave them while they run.

import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { run } from '../system/command.ts';
import { ensureDirectory, readJson, removeTree, writeJsonAtomic } from '../system/files.ts';
import { Mutex } from '../system/mutex.ts';
import { addressAt, overlap, parseSubnet } from './addresses.ts';
import { EngineNetwork } from './engine-network.ts';
import type { NetworkInfo, NetworkSpec, PortExposure } from './network-info.ts';

/** How a container joins or leaves: done by the runtime, which has its namespace. */
export interface NetworkJoiner {
  join(network: EngineNetwork, container: string, aliases: readonly string[]): Promise<void>;
  leave(network: EngineNetwork, container: string): Promise<void>;
}

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;
const RESERVED: ReadonlySet<string> = new Set(['none', 'host', 'bridge', 'default']);
// Each has a bridge and an nftables table of its own, and every packet passes all tables.
const MAX_NETWORKS = 256;
const FILE = 'network.json';

const storedSchema = z.object({
  name: z.string(),
  subnet: z.string(),
  gateway: z.string(),
  bridgeName: z.string(),
  isolated: z.boolean(),
  masquerade: z.boolean(),
  dns: z.boolean(),
  labels: z.record(z.string(), z.string()),
  createdAt: z.number(),
});
type StoredNetwork = z.infer<typeof storedSchema>;

/** The networks of one engine. Opened by {@link ContainerEngine.open}. */
export class Networks implements AsyncDisposable {
  private readonly directory: string;
  private readonly clock: Clock;
  private readonly nameServers: readonly string[] | undefined;
  private readonly live: Map<string, EngineNetwork>;
  private readonly stored = new Map<string, StoredNetwork>();
  private readonly mutex = new Mutex();
  private joiner: NetworkJoiner | undefined;
  /** Called with a network whose containers came or went. */
  onChange: (network: EngineNetwork) => void = () => undefined;

  /** `live` is shared with the runtime, which places containers by it. */
  constructor(
    directory: string,
    live: Map<string, EngineNetwork>,
    clock: Clock,
    nameServers?: readonly string[],
  ) {
    this.directory = directory;
    this.live = live;
    this.clock = clock;
    this.nameServers = nameServers;
  }

  /** Reads what networks there are. What a crash left half made or half removed is cleared. */
  async load(): Promise<void> {
    await ensureDirectory(this.directory);
    for (const name of await readdir(this.directory)) {
      const parsed = storedSchema.safeParse(await readJson(join(this.directory, name, FILE)));
      if (parsed.success) this.bring(parsed.data);
      else await removeTree(join(this.directory, name));
    }
    for (const network of this.live.values()) this.watch(network);
  }

  /** Who lets containers join and leave. */
  joinBy(joiner: NetworkJoiner): void {
    this.joiner = joiner;
  }

  /**
   * Makes a network. Throws `NAME_IN_USE`, `INVALID_ARGUMENT` (a bad name, or a subnet that overlaps another one or a route
   * of the host), `LIMIT_EXCEEDED`.
   */
  async create(spec: NetworkSpec): Promise<NetworkInfo> {
    this.requireJoiner();
    return await this.mutex.run(async () => {
      this.requireName(spec.name);
      const subnet = spec.subnet ?? (await this.freeSubnet());
      if (spec.subnet !== undefined) await this.requireFree(spec.name, spec.subnet);
      const parsed = parseSubnet(subnet);
      const isolated = spec.isolated ?? false;
      const stored: StoredNetwork = {
        name: spec.name,
        subnet: `${addressAt(parsed, 0)}/${parsed.prefix}`,
        gateway: spec.gateway ?? addressAt(parsed, 1),
        bridgeName: spec.bridgeName ?? `hn${randomBytes(5).toString('hex')}`,
        isolated,
        masquerade: spec.masquerade ?? !isolated,
        dns: spec.dns ?? !isolated,
        labels: { ...spec.labels },
        createdAt: this.clock.now(),
      };
      const directory = join(this.directory, spec.name);
      const network = this.build(stored);
      try {
        await ensureDirectory(directory);
        await writeJsonAtomic(join(directory, FILE), stored);
        await network.ensureBridge();
      } catch (error) {
        await network.removeBridge().catch(() => undefined);
        await removeTree(directory);
        throw error;
      }
      this.bring(stored, network);
      this.watch(network);
      return this.info(network);
    });
  }

  /** All networks, the default one first. */
  async list(): Promise<NetworkInfo[]> {
    return [...this.live.values()].map((network) => this.info(network));
  }

  /** One network. Throws `NETWORK_NOT_FOUND`. */
  async inspect(name: string): Promise<NetworkInfo> {
    return this.info(this.find(name, 'inspect'));
  }

  /** Removes a network without trace. Throws `NETWORK_NOT_FOUND`, `NETWORK_IN_USE`. */
  async remove(name: string): Promise<void> {
    await this.mutex.run(async () => {
      const network = this.find(name, 'remove');
      if (!this.stored.has(name)) {
        throw new ContainerError(
          'INVALID_ARGUMENT',
          `cannot remove network "${name}": it is the engine's default`,
        );
      }
      const users = network.members();
      if (users.length > 0) {
        throw new ContainerError(
          'NETWORK_IN_USE',
          `cannot remove network "${name}": containers are on it: ${users.map(({ names }) => names[0]).join(', ')}`,
          { hint: 'disconnect or remove them first', details: { containers: users.map(({ id }) => id) } },
        );
      }
      await network.removeBridge();
      // The description goes first: a crash now leaves a directory that the next start clears.
      await rm(join(this.directory, name, FILE));
      await removeTree(join(this.directory, name));
      this.live.delete(name);
      this.stored.delete(name);
    });
  }

  /**
   * Lets a container join, now and at each later start, under its name and `aliases`. Throws `NETWORK_NOT_FOUND`,
   * `CONTAINER_NOT_FOUND`, `ILLEGAL_TRANSITION` when it is on the network already, `NOT_SUPPORTED` for one without a network.
   */
  async connect(
    name: string,
    container: string,
    options: { aliases?: readonly string[] } = {},
  ): Promise<void> {
    const network = this.find(name, 'connect to');
    await this.requireJoiner().join(network, container, options.aliases ?? []);
  }

  /** Lets a container leave. Throws `NETWORK_NOT_FOUND`, `CONTAINER_NOT_FOUND`, `ILLEGAL_TRANSITION` when it is not on it. */
  async disconnect(name: string, container: string): Promise<void> {
    const network = this.find(name, 'disconnect from');
    await this.requireJoiner().leave(network, container);
  }

  /** Every port of the host that leads into a container, and who can reach it. */
  ports(): PortExposure[] {
    return [...this.live.values()].flatMap((network) =>
      network.ports().map((port) => ({
        ...port,
        reach: port.hostAddress.startsWith('127.') ? ('machine' as const) : ('network' as const),
      })),
    );
  }

  /** Stops answering names. The networks stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const network of this.live.values()) await network[Symbol.asyncDispose]();
  }

  private watch(network: EngineNetwork): void {
    network.onChange = () => this.onChange(network);
  }

  private bring(stored: StoredNetwork, network: EngineNetwork = this.build(stored)): void {
    this.stored.set(stored.name, stored);
    this.live.set(stored.name, network);
  }

  private build(stored: StoredNetwork): EngineNetwork {
    const { name, subnet, gateway, bridgeName, isolated, masquerade, dns } = stored;
    return new EngineNetwork({
      directory: join(this.directory, name),
      ...{ name, subnet, gateway, bridgeName, isolated, masquerade, dns },
      hostsFallback: dns,
      nameServers: this.nameServers,
      clock: this.clock,
    });
  }

  private info(network: EngineNetwork): NetworkInfo {
    const stored = this.stored.get(network.name);
    return {
      name: network.name,
      subnet: network.subnetText,
      gateway: network.gateway,
      bridgeName: network.bridgeName,
      isolated: network.isolated,
      dns: network.nameServer !== undefined,
      labels: stored?.labels ?? {},
      createdAt: stored?.createdAt ?? 0,
      containers: network.members().map(({ id, address, names }) => ({ id, address, names })),
    };
  }

  private find(name: string, doing: string): EngineNetwork {
    const network = this.live.get(name);
    if (network !== undefined) return network;
    throw new ContainerError(
      'NETWORK_NOT_FOUND',
      `cannot ${doing} network "${name}": there is none of this name`,
      {
        hint: `networks are: ${[...this.live.keys()].join(', ') || 'none yet'}`,
      },
    );
  }

  private requireJoiner(): NetworkJoiner {
    if (this.joiner !== undefined) return this.joiner;
    throw new ContainerError(
      'NOT_SUPPORTED',
      'this engine has no bridge networks: it runs plain processes, or for an ordinary user',
      {
        hint: 'the oci runtime has them, run as root',
        details: { driver: 'oci' },
      },
    );
  }

  private requireName(name: string): void {
    if (!NAME.test(name) || RESERVED.has(name)) {
      throw new ContainerError('INVALID_ARGUMENT', `cannot create network "${name}": the name is not valid`, {
        hint: 'names are letters, digits, "_", "." and "-", at most 63; none, host and bridge are taken',
      });
    }
    if (this.live.has(name)) {
      throw new ContainerError('NAME_IN_USE', `cannot create network "${name}": there is one of this name`);
    }
    if (this.live.size >= MAX_NETWORKS) {
      throw new ContainerError(
        'LIMIT_EXCEEDED',
        `cannot create network "${name}": there are ${MAX_NETWORKS} already`,
      );
    }
  }

  private async requireFree(name: string, subnet: string): Promise<void> {
    const taken = (await this.takenSubnets()).find((each) => overlap(parseSubnet(each), parseSubnet(subnet)));
    if (taken === undefined) return;
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot create network "${name}": subnet ${subnet} overlaps ${taken}, which this machine uses`,
      { hint: 'choose another subnet, or leave it out' },
    );
  }

  private async freeSubnet(): Promise<string> {
    const taken = (await this.takenSubnets()).map(parseSubnet);
    for (const second of [89, 90]) {
      for (let third = 0; third < 256; third += 1) {
        const candidate = `10.${second}.${third}.0/24`;
        if (!taken.some((each) => overlap(each, parseSubnet(candidate)))) return candidate;
      }
    }
    throw new ContainerError('LIMIT_EXCEEDED', 'cannot find a free subnet in 10.89.0.0/16 and 10.90.0.0/16', {
      hint: 'give "subnet"',
    });
  }

  /** Subnets of our networks, and whatever the host has a route to. */
  private async takenSubnets(): Promise<string[]> {
    const { stdout } = await run('ip', ['-4', 'route', 'show', 'table', 'all']);
    const routes = stdout.split('\n').flatMap((line) => {
      const destination = /^(?:broadcast |local |unreachable |blackhole )?(\d+\.\d+\.\d+\.\d+\/\d+)/.exec(
        line,
      )?.[1];
      const prefix = Number(destination?.split('/')[1]);
      return destination === undefined || prefix < 8 || prefix > 30 ? [] : [destination];
    });
    return [...routes, ...[...this.live.values()].map(({ subnetText }) => subnetText)];
  }
}
