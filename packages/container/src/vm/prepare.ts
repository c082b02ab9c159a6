// Builds what a machine needs before it can be started: its disk, its place on a network, its shares and secrets.

import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerSpec, ResourceLimits } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { Image, ImageStore } from '../image/image-store.ts';
import type { PreparedContainer } from '../lifecycle/driver.ts';
import { notSupported } from '../lifecycle/not-supported.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { settledOf } from '../lifecycle/settle.ts';
import type { NetworkBackend } from '../network/backend.ts';
import { hostMounts, writeSecrets } from '../oci/host-files.ts';
import { unmountBelow } from '../oci/mounts.ts';
import { resolveUser } from '../oci/user.ts';
import { readJson, removeTree, writeJsonAtomic } from '../system/files.ts';
import { type BaseImages, DISK_FILE } from './base-image.ts';
import { type Plug, parsePlug, plugMachine, unplugMachine } from './guest-network.ts';
import { LAUNCH_FILE, type LaunchShare, planLaunch } from './launch.ts';
import { requireShareable } from './shares.ts';

/** What machines are built from. */
export interface PreparationOptions {
  readonly images: ImageStore;
  readonly bases: BaseImages;
  readonly volumes: string;
  readonly networks: ReadonlyMap<string, NetworkBackend>;
  /** `user` is QEMU's own network. */
  readonly defaultNetwork: string;
  readonly directoryOf: (id: string) => string;
}

/** Name of a machine's directory of secrets, a memory file system of the host. */
export const SECRETS_DIRECTORY = 'secrets';
const NETWORK_FILE = 'network.json';
/** QEMU as the network's router: no privileges, addresses of its own. */
export const USER_NETWORK_NAME = 'user';

const UNSUPPORTED_LIMITS = ['memorySwapBytes', 'cpuWeight', 'ioWeight', 'ioThrottles'] as const;

/** Builds a new machine's files. `disk` is a disk to take over instead of an empty one. */
export async function prepareMachine(
  options: PreparationOptions,
  record: ContainerRecord,
  spec: ContainerSpec,
  disk: string | undefined,
): Promise<PreparedContainer> {
  requireLimits(record.name, spec.limits ?? {});
  requireNetwork(options, spec);
  const directory = options.directoryOf(record.id);
  const { images } = options;
  const { image, top } = await images.unpack(await images.requireTrusted(spec.image));
  const base = await options.bases.ensure(image.digest, top);
  const shares = await sharesOf(options, spec, image, top, directory);
  const launch = planLaunch(record, spec, { digest: image.digest, config: image.config.config }, shares);
  // Holds the values of secret environment variables.
  await writeFile(join(directory, LAUNCH_FILE), JSON.stringify(launch), { mode: 0o600 });
  // Owners are given inside the guest; on the host the content is root's alone.
  await writeSecrets(join(directory, SECRETS_DIRECTORY), spec.secrets ?? [], {
    uid: 0,
    gid: 0,
    additionalGids: [],
    home: '/',
  });
  await options.bases.give(base, directory, disk === undefined);
  if (disk !== undefined) await rename(disk, join(directory, DISK_FILE));
  const { config } = image.config;
  return {
    imageDigest: image.digest,
    stopSignal: spec.stopSignal ?? config.StopSignal ?? 'SIGTERM',
    ...settledOf(spec, config, launch),
    hostname: launch.hostname,
    ...(await connect(options, record)),
  };
}

/** Gives a machine that has ended its place on the network anew. */
export async function reviveMachine(
  options: PreparationOptions,
  record: ContainerRecord,
): Promise<PreparedContainer> {
  const directory = options.directoryOf(record.id);
  const wantsSecrets = (record.spec.secrets?.length ?? 0) > 0;
  const first = await stat(join(directory, SECRETS_DIRECTORY, '0')).catch(() => undefined);
  if (wantsSecrets && first === undefined) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot start container "${record.name}" again: its secrets were in memory, and the machine was restarted`,
      { hint: 'create it anew' },
    );
  }
  return { stopSignal: record.stopSignal, ...(await connect(options, record)) };
}

/** Throws `NOT_SUPPORTED` for limits that a machine cannot hold to. */
export function requireLimits(name: string, limits: ResourceLimits): void {
  const asked = UNSUPPORTED_LIMITS.find((field) => limits[field] !== undefined);
  if (asked !== undefined) throw notSupported('vm', `limit ${asked} of container "${name}"`);
}

/** The network a spec names, or the default. */
export function networkName(
  options: Pick<PreparationOptions, 'defaultNetwork'>,
  spec: ContainerSpec,
): string {
  return spec.network ?? options.defaultNetwork;
}

function requireNetwork(options: PreparationOptions, spec: ContainerSpec): void {
  const name = networkName(options, spec);
  if (name === 'host' || name.startsWith('container:'))
    throw notSupported('vm', `create container "${spec.name}" on the network "${name}"`);
  if (name === 'none' && (spec.ports?.length ?? 0) > 0) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot create container "${spec.name}": ports cannot be published on network "none"`,
    );
  }
  if (name === 'none' || name === USER_NETWORK_NAME || options.networks.has(name)) return;
  throw new ContainerError(
    'NETWORK_NOT_FOUND',
    `cannot create container "${spec.name}": there is no network "${name}"`,
    {
      hint: `networks are: ${['none', USER_NETWORK_NAME, ...options.networks.keys()].join(', ')}`,
    },
  );
}

async function connect(
  options: PreparationOptions,
  record: ContainerRecord,
): Promise<Pick<PreparedContainer, 'address' | 'networks'>> {
  const name = networkName(options, record.spec);
  const backend = options.networks.get(name);
  if (backend === undefined) return { networks: [] };
  const namespace = await backend.prepare(record.id);
  const { id, spec } = record;
  const address = await backend.connect({
    id,
    name: record.name,
    aliases: spec.networkAliases ?? [],
    servers: spec.dns?.servers ?? [],
    ports: spec.ports ?? [],
  });
  const plug = await plugMachine(namespace, record.id);
  await writeJsonAtomic(join(options.directoryOf(record.id), NETWORK_FILE), plug, { durable: false });
  const networks = [backend.attachmentOf?.(id) ?? { name, ...(address === undefined ? {} : { address }) }];
  return { ...(address === undefined ? {} : { address }), networks };
}

async function sharesOf(
  options: PreparationOptions,
  spec: ContainerSpec,
  image: Image,
  top: string,
  directory: string,
): Promise<LaunchShare[]> {
  const wanted = (spec.mounts ?? []).filter((mount) => mount.type !== 'tmpfs');
  if (wanted.length === 0) return [];
  // A volume that is new takes over what the image has at its place, so the image must be looked into.
  const work = await mkdtemp(join(directory, 'image-'));
  try {
    const at = (name: string): string => join(work, name);
    await Promise.all(['root', 'upper', 'work'].map((name) => mkdir(at(name))));
    await options.images.snapshots.mount(top, at('upper'), at('work'), at('root'));
    const user = await resolveUser(at('root'), spec.user ?? image.config.config.User ?? '');
    const mounts = await hostMounts(spec, options.volumes, at('root'), user);
    for (const { source } of mounts) await requireShareable(spec.name, source);
    return mounts.map(({ source, target, readOnly }, index) => ({
      tag: `share${index}`,
      source,
      target,
      readOnly,
    }));
  } finally {
    await unmountBelow(work);
    await removeTree(work);
  }
}

/** The content of the secrets of a machine, by name. */
export async function readSecret(directory: string, name: string): Promise<Buffer> {
  return await readFile(join(directory, SECRETS_DIRECTORY, name));
}

/** Where a machine is plugged in; undefined without a network of ours. */
export async function readPlug(directory: string): Promise<Plug | undefined> {
  return parsePlug(await readJson(join(directory, NETWORK_FILE)));
}

/** Frees what lies outside of a machine's directory, and the memory of its secrets when it goes for good. */
export async function unprepareMachine(
  options: PreparationOptions,
  record: ContainerRecord,
  because: 'stopped' | 'removed',
): Promise<void> {
  const directory = options.directoryOf(record.id);
  const backend = options.networks.get(networkName(options, record.spec));
  if (backend !== undefined) {
    const plug = await readPlug(directory);
    if (plug !== undefined) await unplugMachine(plug);
    await rm(join(directory, NETWORK_FILE), { force: true });
    await backend.detach(record.id);
    if (because === 'removed') await backend.forget?.(record.id);
  }
  if (because === 'removed') await unmountBelow(directory);
}
