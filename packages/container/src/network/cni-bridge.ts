// The default network: a Linux bridge with host-local addresses, plumbed by CNI plugins, recorded so that nothing leaks.

import { join } from 'node:path';
import type { ContainerId, NetworkAttachment } from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { run, runOrThrow } from '../system/command.ts';
import { Mutex } from '../system/mutex.ts';
import { addressAt, parseSubnet, type Subnet } from './addresses.ts';
import { type AttachmentRecord, AttachmentStore, addressOf } from './attachments.ts';
import type { Attachment, AttachRequest, ExposedPort, NetworkBackend } from './backend.ts';
import { bridgeConfig, type CniBridgeOptions, recordedPorts } from './bridge-config.ts';
import { ensureBridgeLink, linkExists, removeBridgeLink, requireBridgeName } from './bridge-link.ts';
import {
  addNetwork,
  CNI_DIRECTORIES,
  type CniAttachment,
  type CniResult,
  deleteNetwork,
  findPlugins,
  type NetworkConfig,
} from './cni.ts';
import { Firewall } from './firewall.ts';
import { freeLeasesOf, reconcileLeases } from './leases.ts';
import { addNamespace, deleteNamespace, nameNamespace, namespaceName, namespacePath } from './namespaces.ts';
import { PortReservations } from './port-reservations.ts';

const INTERFACE = 'eth0';

/**
 * A bridge network.
 *
 * For each container the record is written, the namespace made, and ADD called, in this order; taking back goes the
 * other way and calls DEL even when ADD failed. The plugins are never run twice at once for one container.
 */
export class CniBridgeNetwork implements NetworkBackend {
  readonly name: string;
  readonly bridgeName: string;
  readonly gateway: string;
  /** Called after containers came or went. */
  onChange: () => void = () => undefined;
  private readonly subnet: Subnet;
  private readonly options: CniBridgeOptions;
  private readonly store: AttachmentStore;
  private readonly leases: string;
  private readonly firewall: Firewall;
  private readonly reservations = new PortReservations();
  private readonly locks = new Map<ContainerId, Mutex>();
  private plugins: Promise<string> | undefined;

  constructor(options: CniBridgeOptions) {
    this.options = options;
    this.name = options.name ?? 'bridge';
    this.bridgeName = options.bridgeName ?? 'heptad0';
    requireBridgeName(this.bridgeName);
    this.subnet = parseSubnet(options.subnet ?? '10.87.0.0/16');
    this.gateway = options.gateway ?? addressAt(this.subnet, 1);
    this.store = new AttachmentStore(join(options.directory, 'attachments'));
    this.leases = join(options.directory, 'leases');
    const masquerade = options.masquerade ?? options.isolated !== true;
    this.firewall = new Firewall({ bridgeName: this.bridgeName, subnet: this.subnet, masquerade }, () => ({
      ports: this.ports(),
    }));
  }

  /** `10.87.0.0/16`. */
  get subnetText(): string {
    return `${addressAt(this.subnet, 0)}/${this.subnet.prefix}`;
  }

  get isolated(): boolean {
    return this.options.isolated === true;
  }

  get nameServer(): string | undefined {
    return this.options.dns === true ? this.gateway : undefined;
  }

  async probe(): Promise<string[]> {
    const reasons: string[] = [];
    await this.pluginDirectory().catch((error: unknown) => {
      reasons.push(`${errorMessage(error)}; apt-get install containernetworking-plugins`);
    });
    await run('ip', ['-V']).catch(() => reasons.push('ip is not installed: apt-get install iproute2'));
    await run('nft', ['-v']).catch(() => reasons.push('nft is not installed: apt-get install nftables'));
    return reasons;
  }

  /** Makes the bridge with the gateway's address, so that a proxy can listen there before the first container. Idempotent. */
  async ensureBridge(): Promise<void> {
    await ensureBridgeLink(this.bridgeName, `${this.gateway}/${this.subnet.prefix}`);
  }

  /** Deletes the bridge and our rules for it. Only when no container is attached. */
  async removeBridge(): Promise<void> {
    await removeBridgeLink(this.bridgeName);
    await this.firewall.remove();
  }

  async attach(request: AttachRequest): Promise<Attachment> {
    const namespace = await this.prepare(request.id);
    try {
      const address = await this.connect(request);
      return { namespace, ...(address === undefined ? {} : { address }) };
    } catch (error) {
      await this.detach(request.id).catch(() => undefined);
      throw error;
    }
  }

  async prepare(id: ContainerId): Promise<string> {
    await this.store.save({ id, network: { name: this.name, plugins: [] }, runtime: {}, connected: false });
    await addNamespace(namespaceName(id));
    return namespacePath(namespaceName(id));
  }

  async adopt(id: ContainerId, pid: number): Promise<void> {
    await this.store.save({ id, network: { name: this.name, plugins: [] }, runtime: {}, connected: false });
    await nameNamespace(namespaceName(id), pid);
  }

  async connect(request: AttachRequest): Promise<string | undefined> {
    const { id } = request;
    const ports = recordedPorts(request.ports);
    const network = this.config(request.namespace === undefined);
    const record: AttachmentRecord = {
      id,
      network,
      runtime: {},
      connected: true,
      ports,
      names: [...new Set([request.name ?? [], id.slice(0, 12), ...(request.aliases ?? [])].flat())],
      servers: [...(request.servers ?? [])],
      ...(request.namespace === undefined ? {} : { namespace: request.namespace }),
      ...(request.interfaceName === undefined ? {} : { interfaceName: request.interfaceName }),
    };
    const address = await this.exclusive(id, async () => {
      const directory = await this.pluginDirectory();
      await this.store.save(record);
      await this.reservations.take(ports, this.store.path(id));
      const result = await this.add(directory, network, record);
      await this.store.save({ ...record, result });
      if (this.isolated) await this.isolate(result);
      await (ports.length > 0 ? this.firewall.apply() : this.firewall.ensure());
      return result.ips?.[0]?.address.split('/')[0];
    });
    this.onChange();
    return address;
  }

  async disconnect(id: ContainerId): Promise<void> {
    await this.takeBack(id, false);
  }

  async detach(id: ContainerId): Promise<void> {
    await this.takeBack(id, true);
  }

  attachmentOf(id: ContainerId): NetworkAttachment | undefined {
    const record = this.store.peek(id);
    if (record?.connected !== true) return undefined;
    const address = addressOf(record);
    const inside = record.result?.interfaces?.find(({ sandbox }) => sandbox);
    return {
      name: this.name,
      gateway: this.gateway,
      ...(address === undefined ? {} : { address }),
      ...(inside?.mac === undefined ? {} : { macAddress: inside.mac }),
      aliases: record.names ?? [],
    };
  }

  interfaceOf(id: ContainerId): string | undefined {
    const record = this.store.peek(id);
    return record?.connected === true ? (record.interfaceName ?? INTERFACE) : undefined;
  }

  /** Who is on the network: ids, names, addresses, and name servers of their own. */
  members(): { id: ContainerId; names: readonly string[]; address: string; servers: readonly string[] }[] {
    return this.store.all().flatMap((record) => {
      const address = record.connected ? addressOf(record) : undefined;
      if (address === undefined) return [];
      return [{ id: record.id, names: record.names ?? [], address, servers: record.servers ?? [] }];
    });
  }

  /** The ports of the host that lead into containers here. */
  ports(): ExposedPort[] {
    return this.store.all().flatMap((record) => {
      const address = addressOf(record);
      if (address === undefined) return [];
      return (record.ports ?? []).map((port) => ({
        ...port,
        container: record.id,
        network: this.name,
        address,
      }));
    });
  }

  async reconcile(known: ReadonlySet<ContainerId>): Promise<string[]> {
    const freed: string[] = [];
    const records = await this.store.load();
    for (const id of [...records.keys()].filter((each) => !known.has(each))) {
      await this.detach(id);
      freed.push(`network attachment of ${id.slice(0, 12)}`);
    }
    freed.push(...(await reconcileLeases(join(this.leases, this.name), this.store.all())));
    // Somebody may have flushed the rules meanwhile (a firewall's own restart does): they are written anew.
    const wanted = this.store.all().some(({ connected }) => connected);
    if (wanted && (await linkExists(this.bridgeName))) {
      for (const { id, ports } of this.store.all()) await this.claim(id, ports ?? []);
      await this.firewall.apply();
    }
    this.onChange();
    return freed;
  }

  /** Reserves anew what a container of ours has had since before a reboot of /run, without asking whether it is free. */
  private async claim(id: ContainerId, ports: NonNullable<AttachmentRecord['ports']>): Promise<void> {
    for (const port of ports) await this.reservations.claim(port, this.store.path(id));
  }

  private async add(directory: string, network: NetworkConfig, record: AttachmentRecord): Promise<CniResult> {
    try {
      return await addNetwork(directory, network, attachmentOf(record));
    } catch (error) {
      // A crash between ADD and its record left an address of this very container: nobody else is using it.
      if (!/duplicate allocation|already.*allocated|has been allocated/i.test(errorMessage(error)))
        throw error;
      const freed = await freeLeasesOf(
        join(this.leases, this.name),
        record.id,
        record.interfaceName ?? INTERFACE,
      );
      if (freed === 0) throw error;
      await deleteNetwork(directory, network, attachmentOf(record), undefined);
      return await addNetwork(directory, network, attachmentOf(record));
    }
  }

  private async takeBack(id: ContainerId, withNamespace: boolean): Promise<void> {
    await this.exclusive(id, async () => {
      const record = await this.store.get(id);
      if (record === undefined) return;
      const errors: unknown[] = [];
      const attempt = async (work: Promise<unknown>): Promise<void> => {
        await work.catch((error: unknown) => errors.push(error));
      };
      if (record.connected) await attempt(this.delete(record));
      await attempt(this.reservations.free(record.ports ?? [], this.store.path(id)));
      const keepsNamespace = !withNamespace || record.namespace !== undefined;
      if (!keepsNamespace) await attempt(deleteNamespace(namespaceName(id)));
      if (errors.length > 0) {
        throw new ContainerError(
          'NETWORK_FAILED',
          `cannot take container ${id.slice(0, 12)} off network ${this.name}: ${errors.map(errorMessage).join('; ')}`,
          { cause: errors[0], retryable: true },
        );
      }
      // A namespace of ours that is kept must still be found by the next detach.
      if (!withNamespace && record.namespace === undefined) {
        await this.store.save({ id, network: record.network, runtime: {}, connected: false });
      } else await this.store.remove(id);
      if ((record.ports?.length ?? 0) > 0) await this.firewall.apply();
    });
    this.locks.delete(id);
    this.onChange();
  }

  private async delete(record: AttachmentRecord): Promise<void> {
    const directory = await this.pluginDirectory();
    const errors = await deleteNetwork(directory, record.network, attachmentOf(record), record.result);
    if (errors.length > 0) throw new AggregateError(errors, errors.map(errorMessage).join('; '));
  }

  private config(defaultRoute: boolean): NetworkConfig {
    return bridgeConfig({
      name: this.name,
      bridgeName: this.bridgeName,
      subnet: this.subnet,
      gateway: this.gateway,
      isolated: this.isolated,
      leases: this.leases,
      defaultRoute,
    });
  }

  private async isolate(result: CniResult): Promise<void> {
    // The host's end is the interface without a sandbox that is not the bridge itself.
    const host = result.interfaces?.find(({ name, sandbox }) => !sandbox && name !== this.bridgeName);
    if (host === undefined) {
      throw new ContainerError(
        'NETWORK_FAILED',
        `network ${this.name} did not say which interface to isolate`,
      );
    }
    await runOrThrow('bridge', ['link', 'set', 'dev', host.name, 'isolated', 'on']);
  }

  private pluginDirectory(): Promise<string> {
    this.plugins ??= findPlugins(['bridge', 'host-local'], this.options.pluginDirectories ?? CNI_DIRECTORIES);
    // A failure is not remembered: the plugins may be installed meanwhile.
    this.plugins.catch(() => {
      this.plugins = undefined;
    });
    return this.plugins;
  }

  private async exclusive<T>(id: ContainerId, section: () => Promise<T>): Promise<T> {
    const lock = this.locks.get(id) ?? new Mutex();
    this.locks.set(id, lock);
    return await lock.run(section);
  }
}

function attachmentOf(record: AttachmentRecord): CniAttachment {
  return {
    containerId: record.id,
    namespace: record.namespace ?? namespacePath(namespaceName(record.id)),
    interfaceName: record.interfaceName ?? INTERFACE,
    runtime: record.runtime,
  };
}
