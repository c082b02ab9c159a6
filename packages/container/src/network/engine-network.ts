// A bridge network of an engine: its members are remembered, and find each other by name.

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, ContainerId } from '@heptad/core';
import { z } from 'zod';
import { ensureDirectory, readJson, writeJsonAtomic } from '../system/files.ts';
import { contains, parseSubnet } from './addresses.ts';
import type { AttachRequest } from './backend.ts';
import type { CniBridgeOptions } from './bridge-config.ts';
import { linkExists } from './bridge-link.ts';
import { CniBridgeNetwork } from './cni-bridge.ts';
import { DnsServer, type DnsServerOptions } from './dns-server.ts';

/** Options of {@link EngineNetwork}. */
export interface EngineNetworkSetup extends CniBridgeOptions {
  /** Members stand in each other's /etc/hosts too, so that names are found while no engine is open. */
  readonly hostsFallback: boolean;
  /** Servers for other names, `address` or `address#port`. Default the host's. */
  readonly nameServers?: readonly string[] | undefined;
  readonly clock: Clock;
}

// Each of them stands in the file of each other: beyond this, writing takes longer than it is worth.
const MAX_PEERS_IN_HOSTS = 128;

const memberSchema = z.object({ aliases: z.array(z.string()) });

function upstreamOf(nameServers: readonly string[] | undefined): Pick<DnsServerOptions, 'upstream'> {
  return nameServers === undefined ? {} : { upstream: async () => nameServers };
}

/** See {@link CniBridgeNetwork}; with members and names. */
export class EngineNetwork extends CniBridgeNetwork implements AsyncDisposable {
  private readonly setup: EngineNetworkSetup;
  private readonly directory: string;
  private readonly dns: DnsServer | undefined;
  private dnsProblem: string | undefined;
  private starting: Promise<void> | undefined;

  constructor(setup: EngineNetworkSetup) {
    super(setup);
    this.setup = setup;
    this.directory = join(setup.directory, 'members');
    const subnet = parseSubnet(this.subnetText);
    this.dns =
      setup.dns === true
        ? new DnsServer({
            address: this.gateway,
            // The gateway's address is also the host's own, where our tests and people ask.
            allows: (address) => contains(subnet, address),
            entries: () => this.members(),
            clock: setup.clock,
            ...upstreamOf(setup.nameServers),
          })
        : undefined;
  }

  override async probe(): Promise<string[]> {
    return [...(await super.probe()), ...(this.dnsProblem === undefined ? [] : [this.dnsProblem])];
  }

  override async connect(request: AttachRequest): Promise<string | undefined> {
    const address = await super.connect(request);
    await this.serveNames();
    return address;
  }

  override async reconcile(known: ReadonlySet<ContainerId>): Promise<string[]> {
    const freed = await super.reconcile(known);
    for (const id of await this.memberIds()) if (!known.has(id)) await this.forget(id);
    await this.serveNames();
    return freed;
  }

  /** Remembers that the container joins at every start. */
  async remember(id: ContainerId, aliases: readonly string[]): Promise<void> {
    await ensureDirectory(this.directory);
    await writeJsonAtomic(this.memberPath(id), { aliases });
  }

  /** The container does not join any more. */
  async forget(id: ContainerId): Promise<void> {
    await rm(this.memberPath(id), { force: true });
  }

  async isMember(id: ContainerId): Promise<AttachRequest | undefined> {
    const member = memberSchema.safeParse(await readJson(this.memberPath(id)));
    return member.success ? { id, ports: [], aliases: member.data.aliases } : undefined;
  }

  /** Ids of containers that join at every start. */
  async memberIds(): Promise<ContainerId[]> {
    const names = await readdir(this.directory).catch(() => []);
    return names.map((name) => name.replace(/\.json$/, '')).filter((id) => /^[0-9a-f]{64}$/.test(id));
  }

  peersOf(id: ContainerId): { address: string; names: readonly string[] }[] {
    const members = this.members();
    if (!this.setup.hostsFallback || members.length > MAX_PEERS_IN_HOSTS) return [];
    if (!members.some((member) => member.id === id)) return [];
    return members.filter((member) => member.id !== id).map(({ address, names }) => ({ address, names }));
  }

  /** Whether members stand in each other's /etc/hosts. */
  get listsPeers(): boolean {
    return this.setup.hostsFallback;
  }

  override async removeBridge(): Promise<void> {
    await this[Symbol.asyncDispose]();
    await super.removeBridge();
  }

  /** Lets go of the name server's address. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.dns?.[Symbol.asyncDispose]();
  }

  /** Answers names as soon as the bridge exists; when another server has the address, /etc/hosts must do. */
  private async serveNames(): Promise<void> {
    const { dns } = this;
    if (dns === undefined || dns.listening) return;
    this.starting ??= (async () => {
      if (!(await linkExists(this.bridgeName))) return;
      this.dnsProblem = await dns.start();
    })().finally(() => {
      this.starting = undefined;
    });
    await this.starting;
  }

  private memberPath(id: ContainerId): string {
    return join(this.directory, `${id}.json`);
  }
}
