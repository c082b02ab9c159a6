// Builds a container up to an init that waits for start: root file system, network, files, config.json, shim.

import { mkdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import type { Clock, ContainerSpec } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { hostArchitecture, type ImageConfig } from '../image/manifest.ts';
import type { PreparedContainer } from '../lifecycle/driver.ts';
import { notSupported } from '../lifecycle/not-supported.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { logBounds } from '../lifecycle/rotate-log.ts';
import { settledOf } from '../lifecycle/settle.ts';
import { namespaceName } from '../network/cni-bridge.ts';
import { namespacePath } from '../network/namespaces.ts';
import { isRootless, mappedGroups } from '../rootless/enter.ts';
import { writeFileAtomic } from '../system/files.ts';
import { Mutex } from '../system/mutex.ts';
import { identify } from '../system/processes.ts';
import { type CgroupLayout, containerCgroup } from './cgroup.ts';
import { createWithConmon } from './conmon.ts';
import { resolveDevices } from './devices.ts';
import { type BindMount, commandLine, generateSpec } from './generate-spec.ts';
import { INIT_TARGET } from './helpers.ts';
import { hostMounts, remapVolumes, writeSecrets } from './host-files.ts';
import type { IdRanges } from './id-ranges.ts';
import type { IdMappings } from './idmapped-mount.ts';
import { requireIoWeight } from './io-limits.ts';
import { mountMappedRoot } from './mapped-root.ts';
import { lockedFlags } from './mounts.ts';
import {
  type HostsContent,
  hostsText,
  identityMounts,
  rewriteInPlace,
  writeIdentityFiles,
} from './name-files.ts';
import { boundAllContainers } from './parent-cgroup.ts';
import { containerPaths } from './paths.ts';
import {
  adoptNamespace,
  type Connected,
  connectPlace,
  isAdopted,
  type Place,
  type PlaceOptions,
  placeOf,
  prepareNamespace,
} from './place.ts';
import { thermalThrottlePaths } from './protected-paths.ts';
import { resolveThrottles } from './resources.ts';
import { ownHardLimits } from './rlimits.ts';
import type { RuntimeCommand } from './runtime-command.ts';
import { loadSeccompProfile, type OciSeccomp, type SeccompProfile } from './seccomp.ts';
import { seccompFor } from './seccomp-hardening.ts';
import type { OciProcess, OciSpec } from './spec.ts';
import { resolveUser } from './user.ts';

/** What containers are built from. */
export interface AssemblyOptions extends PlaceOptions {
  /** Ids for user namespaces. */
  readonly ids: IdRanges;
  readonly home: string;
  readonly images: ImageStore;
  readonly volumes: string;
  readonly clock: Clock;
  readonly layout: CgroupLayout;
  readonly runtime: RuntimeCommand;
  /** Path of the init for containers that ask for one. */
  readonly init: string | undefined;
}

/** Parent of all our cgroups. At the root of the hierarchies, so that stopping our own service does not stop containers. */
export const CGROUP_PARENT = 'heptad';

/** What a container's bundle stands on. */
interface Ground {
  readonly place: Place;
  readonly namespace: string;
  /** Where the runtime finds the root file system. */
  readonly rootfs: string;
  readonly mappings: IdMappings | undefined;
}
type Built = Pick<PreparedContainer, 'process' | 'address' | 'networks'>;

/** Builds containers. What it made is taken apart by {@link Releaser}, after a failure too. */
export class Assembler {
  private readonly options: AssemblyOptions;
  private readonly hostsWriter = new Mutex();
  private readonly ids: IdRanges;
  private profile: Promise<SeccompProfile> | undefined;

  constructor(options: AssemblyOptions) {
    this.options = options;
    this.ids = options.ids;
  }

  /** Builds a new container. */
  async prepare(record: ContainerRecord, spec: ContainerSpec): Promise<PreparedContainer> {
    const { images } = this.options;
    const { image, top } = await images.unpack(await images.requireTrusted(spec.image));
    const paths = containerPaths(this.options.home, record.id);
    await mkdir(paths.rootfs, { recursive: true, mode: 0o700 });
    await mkdir(paths.upper, { mode: 0o755 });
    let process: OciProcess | undefined;
    const built = await this.build(record, top, async (ground) => {
      process = await this.writeBundle(record, spec, image.config.config, ground);
    });
    return {
      ...settledOf(spec, image.config.config, {
        command: commandLine(spec, image.config.config),
        environment: process?.env ?? [],
        workingDirectory: process?.cwd ?? '/',
      }),
      hostname: hostnames(record).hostname,
      imageDigest: image.digest,
      stopSignal: spec.stopSignal ?? image.config.config.StopSignal ?? 'SIGTERM',
      ...built,
    };
  }

  /** Builds one anew that has ended; its bundle stays as written: same command, environment and namespace. */
  async revive(record: ContainerRecord): Promise<PreparedContainer> {
    const paths = containerPaths(this.options.home, record.id);
    const { top } = await this.options.images.unpack(record.imageDigest ?? record.spec.image);
    const wantsSecrets = (record.spec.secrets?.length ?? 0) > 0;
    if (wantsSecrets && (await stat(join(paths.secrets, '0')).catch(() => undefined)) === undefined) {
      throw new ContainerError(
        'NOT_SUPPORTED',
        `cannot start container "${record.name}" again: its secrets were in memory, and the machine was restarted`,
        { hint: 'create it anew' },
      );
    }
    await Promise.all([paths.persist, paths.work].map((path) => rm(path, { recursive: true, force: true })));
    const built = await this.build(record, top, async ({ place, namespace, mappings }) => {
      if (mappings !== undefined) {
        await remapVolumes(record.spec, this.options.volumes, record.id, mappings);
      }
      // The container whose network it shares may be another process by now.
      if (place.kind === 'container') await this.moveTo(namespace, paths.bundle);
    });
    return { stopSignal: record.stopSignal, ...built };
  }

  private async moveTo(namespace: string, bundle: string): Promise<void> {
    const path = join(bundle, 'config.json');
    // We wrote this file ourselves.
    const config = JSON.parse(await readFile(path, 'utf8')) as OciSpec;
    const namespaces = config.linux.namespaces.map((each) =>
      each.type === 'network' ? { ...each, path: namespace } : each,
    );
    const moved: OciSpec = { ...config, linux: { ...config.linux, namespaces } };
    await writeFileAtomic(path, JSON.stringify(moved), { durable: false });
  }

  /** Writes a container's /etc/hosts, which it may be reading. */
  async writeHosts(record: ContainerRecord, address: string | undefined): Promise<void> {
    const { hosts } = containerPaths(this.options.home, record.id);
    // Two writers at once would mix their texts.
    await this.hostsWriter.run(async () => {
      const peers = [...this.options.networks.values()].flatMap(
        (network) => network.peersOf?.(record.id) ?? [],
      );
      await rewriteInPlace(
        hosts,
        hostsText({ ...hostnames(record), address, hosts: record.hosts ?? {}, peers }),
      );
    });
  }

  private async build(
    record: ContainerRecord,
    top: Digest,
    writeBundle: (ground: Ground) => Promise<void>,
  ): Promise<Built> {
    const place = placeOf(this.options, record.spec);
    const paths = containerPaths(this.options.home, record.id);
    await Promise.all([paths.work, paths.persist].map((path) => mkdir(path, { mode: 0o700 })));
    const mappings = await this.ids.mappingsFor(record.spec.userNamespace, record.id, paths.directory);
    const mapped = mappings !== undefined;
    const adopted = isAdopted(place, mapped);
    const [namespace, rootfs] = await settle([
      prepareNamespace(place, record, mapped),
      this.mountRoot(record, top, mappings),
    ]);
    const create = async (): Promise<number> => {
      await writeBundle({ place, namespace, rootfs, mappings });
      return await this.createInit(record);
    };
    if (adopted) return await this.buildAdopted(place, record, create);
    // The runtime joins the namespace while the network is still being plumbed into it.
    const [pid, connected] = await settle([create(), connectPlace(this.options, place, record, namespace)]);
    return await this.finish(record, pid, connected);
  }

  private async mountRoot(
    record: ContainerRecord,
    top: Digest,
    mappings: IdMappings | undefined,
  ): Promise<string> {
    const { directory, upper, work, rootfs } = containerPaths(this.options.home, record.id);
    const { snapshots } = this.options.images;
    if (mappings !== undefined)
      return await mountMappedRoot({ id: record.id, directory, rootfs, mappings, snapshots, top });
    await snapshots.mount(top, upper, work, rootfs);
    return rootfs;
  }

  /** For a user namespace, and for an ordinary user, the runtime makes the network namespace, so that it belongs to the user namespace that the container is in. */
  private async buildAdopted(
    place: Place,
    record: ContainerRecord,
    create: () => Promise<number>,
  ): Promise<Built> {
    const pid = await create();
    await adoptNamespace(place, record, pid);
    const namespace = namespacePath(namespaceName(record.id));
    return await this.finish(record, pid, await connectPlace(this.options, place, record, namespace));
  }

  private async finish(record: ContainerRecord, pid: number, connected: Connected): Promise<Built> {
    if (connected.address !== undefined) await this.writeHosts(record, connected.address);
    const process = identify(pid);
    if (process !== undefined) return { process, ...connected };
    throw new ContainerError(
      'RUNTIME_FAILED',
      `cannot create container "${record.name}": its init ended at once`,
    );
  }

  private async writeBundle(
    record: ContainerRecord,
    spec: ContainerSpec,
    image: ImageConfig['config'],
    { place, namespace, rootfs, mappings }: Ground,
  ): Promise<OciProcess> {
    const { id } = record;
    const paths = containerPaths(this.options.home, id);
    const user = await resolveUser(paths.rootfs, spec.user ?? image.User ?? '', spec.groupAdd);
    const content = {
      ...hostnames(place.kind === 'container' ? place.other : record),
      hosts: record.hosts ?? {},
    };
    const [identity, secrets, mounts, seccomp, ownLimits, thermal, devices, throttles] = await settle([
      this.identityFiles(record, content, place),
      writeSecrets(paths.secrets, spec.secrets ?? [], user, mappings),
      hostMounts(
        spec,
        this.options.volumes,
        paths.rootfs,
        user,
        mappings === undefined ? undefined : { id, mappings },
      ),
      this.seccompFor(spec),
      ownHardLimits(),
      thermalThrottlePaths(),
      resolveDevices(spec.devices ?? [], spec.name),
      resolveThrottles(spec.limits?.ioThrottles ?? [], `create container "${spec.name}"`),
      this.options.layout.denied === true
        ? requireNoLimits(spec)
        : boundAllContainers(this.options.layout, CGROUP_PARENT),
      spec.limits?.ioWeight === undefined
        ? Promise.resolve()
        : requireIoWeight(this.options.layout, CGROUP_PARENT),
    ]);
    const config = generateSpec({
      id,
      spec,
      image,
      user,
      rootfs,
      mappings,
      seccomp,
      cgroupsPath: containerCgroup(CGROUP_PARENT, id),
      cgroupVersion: this.options.layout.version,
      cgroupsDenied: this.options.layout.denied,
      groups: mappedGroups(),
      ...(namespace === 'none' ? {} : { networkNamespace: namespace }),
      sharesNetwork: place.kind === 'container',
      hostname: content.hostname,
      binds: await keepFlags([...identity, ...mounts, ...secrets, ...this.initBind(spec)], mappings),
      ownLimits,
      thermalThrottlePaths: thermal,
      devices,
      throttles,
    });
    // Holds the values of secret environment variables; the directory is its owner's only, and so is the file.
    await writeFile(join(paths.bundle, 'config.json'), JSON.stringify(config), { mode: 0o600 });
    return config.process;
  }

  private initBind({ init }: ContainerSpec): BindMount[] {
    const source = this.options.init;
    return init === true && source !== undefined ? [{ source, target: INIT_TARGET, readOnly: true }] : [];
  }

  private async identityFiles(
    record: ContainerRecord,
    content: HostsContent,
    place: Place,
  ): Promise<BindMount[]> {
    const { home } = this.options;
    // Who shares a network shares its names: the files are the other's, and change with them.
    if (place.kind === 'container') return identityMounts(containerPaths(home, place.other.id).directory);
    return await writeIdentityFiles(containerPaths(home, record.id).directory, content, {
      nameServer: place.kind === 'network' ? place.network.nameServer : undefined,
      dns: record.spec.dns,
      sharesHostNetwork: place.kind === 'host',
    });
  }

  private async createInit(record: ContainerRecord): Promise<number> {
    const paths = containerPaths(this.options.home, record.id);
    const bounds = logBounds(record.spec);
    const { runtime } = this.options;
    return await createWithConmon({
      conmon: 'conmon',
      runtime: await runtime.path(),
      runtimeArguments: runtime.globalArguments,
      id: record.id,
      name: record.name,
      bundle: paths.bundle,
      exitDirectory: join(this.options.home, 'exits'),
      persistDirectory: paths.persist,
      logPath: paths.log,
      // Above what we rotate at, so that it only ever matters while we are dead.
      logMaxBytes: bounds.maxBytes * (bounds.maxFiles + 1),
      stdin: record.spec.tty === true ? 'terminal' : record.spec.openStdin === true ? 'open' : 'closed',
      clock: this.options.clock,
    });
  }

  private async seccompFor(spec: ContainerSpec): Promise<OciSeccomp> {
    this.profile ??= loadSeccompProfile();
    const machine = { architecture: hostArchitecture(), kernel: release() };
    return seccompFor(await this.profile, machine, spec.capabilities);
  }
}

/** Throws `NOT_SUPPORTED` for what only cgroups can enforce. */
async function requireNoLimits(spec: ContainerSpec): Promise<void> {
  const [asked] = Object.entries(spec.limits ?? {}).find(([, value]) => value !== undefined) ?? [];
  if (asked !== undefined) {
    throw notSupported('oci', `create container "${spec.name}" with limits.${asked}`);
  }
}

/** In a user namespace a bind mount may not lose the flags of what it shows. */
async function keepFlags(
  binds: readonly BindMount[],
  mappings: IdMappings | undefined,
): Promise<readonly BindMount[]> {
  if ((mappings === undefined && !isRootless()) || binds.length === 0) return binds;
  const mountinfo = await readFile('/proc/self/mountinfo', 'utf8');
  return await Promise.all(
    binds.map(async (bind) => ({ ...bind, flags: lockedFlags(mountinfo, await realpath(bind.source)) })),
  );
}

function hostnames(record: ContainerRecord): { hostname: string; name: string } {
  return { hostname: record.spec.hostname ?? record.id.slice(0, 12), name: record.name };
}

/** Like Promise.all, but waits for all before it fails, so that a rollback never races with work still under way. */
async function settle<T extends readonly unknown[]>(
  work: {
    readonly [K in keyof T]: Promise<T[K]>;
  },
): Promise<T> {
  const results = await Promise.allSettled(work);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return (await Promise.all(work)) as unknown as T;
}
