// The default network: a Linux bridge with host-local addresses, plumbed by CNI plugins, recorded so that nothing leaks.

import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId } from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { run, runOrThrow } from '../system/command.ts';
import { deleteAbandonedTemporaries, ensureDirectory, readJson, writeJsonAtomic } from '../system/files.ts';
import { Mutex } from '../system/mutex.ts';
import { addressAt, parseSubnet, type Subnet } from './addresses.ts';
import type { Attachment, AttachRequest, NetworkBackend } from './backend.ts';
import {
  addNetwork,
  CNI_DIRECTORIES,
  type CniAttachment,
  type CniResult,
  deleteNetwork,
  findPlugins,
  type NetworkConfig,
} from './cni.ts';
import { addNamespace, deleteNamespace, namespacePath } from './namespaces.ts';

/** Options of {@link CniBridgeNetwork}. */
export interface CniBridgeOptions {
  /** Where leases and attachments are recorded. */
  readonly directory: string;
  /** Name of the network. Default `bridge`. */
  readonly name?: string;
  /** Name of the Linux bridge, at most 15 characters. Default `heptad0`. */
  readonly bridgeName?: string;
  /** Default `10.87.0.0/16`. */
  readonly subnet?: string;
  /** The host's address on the bridge. Default the first of the subnet. */
  readonly gateway?: string;
  /** Containers reach the host but not each other. Default false. */
  readonly isolated?: boolean;
  /** Lets containers reach what the host reaches, with the host's address. Default false when isolated, else true. */
  readonly masquerade?: boolean;
  /** Where the plugins are. */
  readonly pluginDirectories?: readonly string[];
}

const NAMESPACE_PREFIX = 'heptad-';
const INTERFACE = 'eth0';
const BRIDGE_NAME = /^[a-zA-Z][a-zA-Z0-9_.-]{0,14}$/;

const recordSchema = z.object({
  id: z.string(),
  network: z.object({ name: z.string(), plugins: z.array(z.looseObject({ type: z.string() })) }),
  runtime: z.record(z.string(), z.unknown()),
  connected: z.boolean(),
  result: z.looseObject({}).optional(),
});
/** What is remembered of an attachment: DEL must get the very config that ADD got. */
type AttachmentRecord = z.infer<typeof recordSchema>;

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
  private readonly subnet: Subnet;
  private readonly options: CniBridgeOptions;
  private readonly attachments: string;
  private readonly leases: string;
  private readonly locks = new Map<ContainerId, Mutex>();
  private plugins: Promise<string> | undefined;

  constructor(options: CniBridgeOptions) {
    this.options = options;
    this.name = options.name ?? 'bridge';
    this.bridgeName = options.bridgeName ?? 'heptad0';
    if (!BRIDGE_NAME.test(this.bridgeName)) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `"${this.bridgeName}" is not a name for a network interface`,
        {
          hint: 'at most 15 letters, digits, "_", "." and "-"',
        },
      );
    }
    this.subnet = parseSubnet(options.subnet ?? '10.87.0.0/16');
    this.gateway = options.gateway ?? addressAt(this.subnet, 1);
    this.attachments = join(options.directory, 'attachments');
    this.leases = join(options.directory, 'leases');
  }

  async probe(): Promise<string[]> {
    const reasons: string[] = [];
    await this.pluginDirectory().catch((error: unknown) => {
      reasons.push(`${errorMessage(error)}; apt-get install containernetworking-plugins`);
    });
    await run('ip', ['-V']).catch(() => reasons.push('ip is not installed: apt-get install iproute2'));
    return reasons;
  }

  /** Makes the bridge with the gateway's address, so that a proxy can listen there before the first container. Idempotent. */
  async ensureBridge(): Promise<void> {
    const { exitCode } = await run('ip', ['link', 'show', 'dev', this.bridgeName]);
    if (exitCode !== 0) {
      const added = await run('ip', ['link', 'add', 'name', this.bridgeName, 'type', 'bridge']);
      // Another process may have made it at the same moment.
      if (added.exitCode !== 0 && !/File exists/.test(added.stderr)) {
        throw new ContainerError(
          'NETWORK_FAILED',
          `cannot make bridge ${this.bridgeName}: ${added.stderr.trim()}`,
        );
      }
    }
    await runOrThrow('ip', [
      'address',
      'replace',
      `${this.gateway}/${this.subnet.prefix}`,
      'dev',
      this.bridgeName,
    ]);
    await runOrThrow('ip', ['link', 'set', this.bridgeName, 'up']);
  }

  /** Deletes the bridge. Only when no container is attached. */
  async removeBridge(): Promise<void> {
    const { exitCode, stderr } = await run('ip', ['link', 'delete', this.bridgeName]);
    if (exitCode !== 0 && !/Cannot find device/.test(stderr)) {
      throw new ContainerError('NETWORK_FAILED', `cannot delete bridge ${this.bridgeName}: ${stderr.trim()}`);
    }
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
    await ensureDirectory(this.attachments);
    const record: AttachmentRecord = {
      id,
      network: this.config([]) as AttachmentRecord['network'],
      runtime: {},
      connected: false,
    };
    await this.save(record);
    await addNamespace(namespaceName(id));
    return namespacePath(namespaceName(id));
  }

  async connect(request: AttachRequest): Promise<string | undefined> {
    const { id } = request;
    return await this.exclusive(id, async () => {
      const directory = await this.pluginDirectory();
      const portMappings = request.ports.map((port) => ({
        hostPort: port.hostPort,
        containerPort: port.containerPort,
        protocol: (port.protocol ?? 'TCP').toLowerCase(),
        // A published port is for this machine unless somebody says otherwise: nothing bypasses the firewall.
        hostIP: port.hostAddress ?? '127.0.0.1',
      }));
      const network = this.config(portMappings);
      const runtime = portMappings.length === 0 ? {} : { portMappings };
      const record: AttachmentRecord = {
        id,
        network: network as AttachmentRecord['network'],
        runtime,
        connected: true,
      };
      await this.save(record);
      const result = await addNetwork(directory, network, attachmentOf(record));
      await this.save({ ...record, result });
      if (this.options.isolated === true) await this.isolate(result);
      return result.ips?.[0]?.address.split('/')[0];
    });
  }

  async detach(id: ContainerId): Promise<void> {
    await this.exclusive(id, async () => {
      const json = await readJson(this.recordPath(id)).catch(() => undefined);
      const record = recordSchema.safeParse(json);
      const errors: unknown[] = [];
      if (record.success && record.data.connected) {
        const directory = await this.pluginDirectory();
        errors.push(
          ...(await deleteNetwork(
            directory,
            record.data.network,
            attachmentOf(record.data),
            record.data.result as CniResult | undefined,
          )),
        );
      }
      await deleteNamespace(namespaceName(id)).catch((error: unknown) => errors.push(error));
      if (errors.length === 0) {
        await rm(this.recordPath(id), { force: true });
        return;
      }
      throw new ContainerError(
        'NETWORK_FAILED',
        `cannot take container ${id.slice(0, 12)} off network ${this.name}: ${errors.map(errorMessage).join('; ')}`,
        {
          cause: errors[0],
          retryable: true,
        },
      );
    });
    this.locks.delete(id);
  }

  async reconcile(known: ReadonlySet<ContainerId>): Promise<string[]> {
    const freed: string[] = [];
    await ensureDirectory(this.attachments);
    await deleteAbandonedTemporaries(this.attachments);
    for (const file of await readdir(this.attachments)) {
      const id = file.replace(/\.json$/, '');
      if (!/^[0-9a-f]{64}$/.test(id) || known.has(id)) continue;
      await this.detach(id);
      freed.push(`network attachment of ${id.slice(0, 12)}`);
    }
    freed.push(...(await this.freeLeases()));
    return freed;
  }

  /** Deletes addresses that host-local still holds for containers without an attachment: a crash between the two. */
  private async freeLeases(): Promise<string[]> {
    const directory = join(this.leases, this.name);
    const freed: string[] = [];
    const attached = new Set((await readdir(this.attachments)).map((file) => file.replace(/\.json$/, '')));
    for (const address of await readdir(directory).catch(() => [])) {
      if (!/^\d+\.\d+\.\d+\.\d+$/.test(address)) continue;
      const owner =
        (await readFile(join(directory, address), 'utf8').catch(() => '')).split(/\r?\n/)[0] ?? '';
      if (attached.has(owner.trim())) continue;
      await rm(join(directory, address), { force: true });
      freed.push(`address ${address}`);
    }
    return freed;
  }

  private config(portMappings: readonly unknown[]): NetworkConfig {
    const masquerade = this.options.masquerade ?? this.options.isolated !== true;
    return {
      name: this.name,
      plugins: [
        {
          type: 'bridge',
          bridge: this.bridgeName,
          isGateway: true,
          ipMasq: masquerade,
          hairpinMode: this.options.isolated !== true,
          ipam: {
            type: 'host-local',
            dataDir: this.leases,
            ranges: [
              [{ subnet: `${addressAt(this.subnet, 0)}/${this.subnet.prefix}`, gateway: this.gateway }],
            ],
            routes: [{ dst: '0.0.0.0/0' }],
          },
        },
        ...(portMappings.length === 0
          ? []
          : [{ type: 'portmap', capabilities: { portMappings: true }, snat: true }]),
      ],
    };
  }

  private async isolate(result: CniResult): Promise<void> {
    // The host's end is the interface without a sandbox that is not the bridge itself.
    const host = result.interfaces?.find(({ name, sandbox }) => !sandbox && name !== this.bridgeName);
    if (host === undefined)
      throw new ContainerError(
        'NETWORK_FAILED',
        `network ${this.name} did not say which interface to isolate`,
      );
    await runOrThrow('bridge', ['link', 'set', 'dev', host.name, 'isolated', 'on']);
  }

  private pluginDirectory(): Promise<string> {
    this.plugins ??= findPlugins(
      ['bridge', 'host-local', 'portmap'],
      this.options.pluginDirectories ?? CNI_DIRECTORIES,
    );
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

  private async save(record: AttachmentRecord): Promise<void> {
    await mkdir(this.attachments, { recursive: true, mode: 0o700 });
    await writeJsonAtomic(this.recordPath(record.id), record);
  }

  private recordPath(id: ContainerId): string {
    return join(this.attachments, `${id}.json`);
  }
}

function namespaceName(id: ContainerId): string {
  // Half of the id is unique enough and keeps `ip netns list` readable.
  return `${NAMESPACE_PREFIX}${id.slice(0, 32)}`;
}

function attachmentOf(record: AttachmentRecord): CniAttachment {
  return {
    containerId: record.id,
    namespace: namespacePath(namespaceName(record.id)),
    interfaceName: INTERFACE,
    runtime: record.runtime,
  };
}
