// The network of an ordinary user's containers: each has slirp4netns, which speaks for it with the user's own sockets.

import { spawn } from 'node:child_process';
import { readdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { ContainerId, NetworkAttachment } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { run, TOOL_PATH } from '../system/command.ts';
import { ensureDirectory, readJson, writeJsonAtomic } from '../system/files.ts';
import { identify, type ProcessIdentity, signalProcess } from '../system/processes.ts';
import type { RecordedPort } from './attachments.ts';
import type { Attachment, AttachRequest, NetworkBackend } from './backend.ts';
import { recordedPorts } from './bridge-config.ts';

// slirp4netns's own numbers, the same in every container: each is alone on its network.
const ADDRESS = '10.0.2.100';
const GATEWAY = '10.0.2.2';
const NAME_SERVER = '10.0.2.3';
const MAX_REPLY_BYTES = 64 * 1024;

const identitySchema = z.object({ pid: z.number().int().positive(), startTime: z.string() });
const recordSchema = z.object({ init: identitySchema, helper: identitySchema.optional() });
type SlirpRecord = z.infer<typeof recordSchema>;
const replySchema = z.object({ error: z.object({ desc: z.string() }).optional() });

/** Networks without privileges: out by slirp4netns, in by published ports, no way from container to container. */
export class SlirpNetwork implements NetworkBackend {
  readonly name: string;
  readonly nameServer: string = NAME_SERVER;
  /** It attaches to namespaces that the runtime made. */
  readonly adopts: boolean = true;
  private readonly directory: string;

  constructor(options: { readonly directory: string; readonly name?: string }) {
    this.directory = options.directory;
    this.name = options.name ?? 'slirp';
  }

  async probe(): Promise<string[]> {
    return (await run('slirp4netns', ['--version']).catch(() => undefined)) === undefined
      ? ['slirp4netns is not installed, so containers have no network: apt-get install slirp4netns']
      : [];
  }

  async attach(request: AttachRequest): Promise<Attachment> {
    throw this.notPrepared(request.id);
  }

  async prepare(id: ContainerId): Promise<string> {
    throw this.notPrepared(id);
  }

  async adopt(id: ContainerId, pid: number): Promise<void> {
    const init = identify(pid);
    if (init === undefined) throw this.failed(id, 'its init has ended');
    await ensureDirectory(this.directory);
    await writeJsonAtomic(this.path(id), { init }, { durable: false });
  }

  async connect(request: AttachRequest): Promise<string | undefined> {
    const { id } = request;
    const ports = recordedPorts(request.ports);
    const record = await this.read(id);
    if (record === undefined) throw this.notPrepared(id);
    const socket = this.socket(id);
    await rm(socket, { force: true });
    const helper = await this.start(id, record.init, socket);
    await writeJsonAtomic(this.path(id), { ...record, helper }, { durable: false });
    for (const port of ports) await this.publish(id, socket, port);
    return ADDRESS;
  }

  async disconnect(id: ContainerId): Promise<void> {
    await this.detach(id);
  }

  async detach(id: ContainerId): Promise<void> {
    const record = await this.read(id);
    if (record?.helper !== undefined) signalProcess(record.helper, 9);
    await rm(this.socket(id), { force: true });
    await rm(this.path(id), { force: true });
  }

  async reconcile(known: ReadonlySet<ContainerId>): Promise<string[]> {
    const freed: string[] = [];
    for (const file of await readdir(this.directory).catch(() => [])) {
      const id = file.replace(/\.json$/, '');
      if (!/^[0-9a-f]{64}$/.test(id) || known.has(id)) continue;
      await this.detach(id);
      freed.push(`network of ${id.slice(0, 12)}`);
    }
    return freed;
  }

  attachmentOf(): NetworkAttachment {
    return { name: this.name, address: ADDRESS, gateway: GATEWAY };
  }

  private async start(id: ContainerId, init: ProcessIdentity, socket: string): Promise<ProcessIdentity> {
    const namespace = `/proc/${init.pid}/ns/net`;
    const args = [
      '--configure',
      '--mtu=65520',
      '--disable-host-loopback',
      '--ready-fd=3',
      '--api-socket',
      socket,
    ];
    const child = spawn('slirp4netns', [...args, '--netns-type=path', namespace, 'tap0'], {
      // It must not end with our terminal or our process group: containers outlive us.
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: { PATH: TOOL_PATH },
    });
    const [said, ready] = [child.stderr, child.stdio[3]] as [Readable, Readable];
    let words = '';
    said.on('data', (chunk: Buffer) => {
      if (words.length < MAX_REPLY_BYTES) words += chunk.toString();
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    child.on('error', (cause) => reject(this.failed(id, 'slirp4netns cannot be started', cause)));
    child.on('exit', () => reject(this.failed(id, words.trim().split('\n').at(-1) ?? 'slirp4netns ended')));
    ready.on('data', () => resolve());
    await promise;
    child.removeAllListeners('exit');
    const helper = child.pid === undefined ? undefined : identify(child.pid);
    if (helper === undefined) throw this.failed(id, 'slirp4netns ended at once');
    for (const stream of [said, ready]) stream.destroy();
    child.unref();
    return helper;
  }

  /** Asks slirp4netns, on its socket, to listen for the container. */
  private async publish(id: ContainerId, socket: string, port: RecordedPort): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const request = {
      execute: 'add_hostfwd',
      arguments: {
        proto: port.protocol,
        host_addr: port.hostAddress,
        host_port: port.hostPort,
        guest_port: port.containerPort,
      },
    };
    const client = connect(socket, () => client.end(JSON.stringify(request)));
    let reply = '';
    client.on('data', (chunk: Buffer) => {
      if (reply.length < MAX_REPLY_BYTES) reply += chunk.toString();
    });
    client.on('end', () => resolve(reply));
    client.on('error', reject);
    const answer = replySchema.safeParse(JSON.parse(await promise));
    if (answer.success && answer.data.error === undefined) return;
    const why = answer.success ? answer.data.error?.desc : 'its answer is not understood';
    throw new ContainerError(
      'PORT_IN_USE',
      `cannot publish ${port.protocol} port ${port.hostAddress}:${port.hostPort} of container ${id.slice(0, 12)}: ${why}`,
      { hint: 'choose another host port; below 1024 an ordinary user may not listen', details: { ...port } },
    );
  }

  private async read(id: ContainerId): Promise<SlirpRecord | undefined> {
    const parsed = recordSchema.safeParse(await readJson(this.path(id)));
    return parsed.success ? parsed.data : undefined;
  }

  private path(id: ContainerId): string {
    return join(this.directory, `${id}.json`);
  }

  /** Short: the path of a unix socket takes 107 bytes. */
  private socket(id: ContainerId): string {
    return join(this.directory, id.slice(0, 12));
  }

  private notPrepared(id: ContainerId): ContainerError {
    return this.failed(id, 'its namespace is not made ahead');
  }

  private failed(id: ContainerId, why: string, cause?: unknown): ContainerError {
    return new ContainerError(
      'NETWORK_FAILED',
      `cannot connect container ${id.slice(0, 12)} to network ${this.name}: ${why}`,
      cause === undefined ? {} : { cause },
    );
  }
}
