// Builds a container up to an init that waits for start: root file system, network, files, config.json, shim.

import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerSpec } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import type { PreparedContainer } from '../lifecycle/driver.ts';
import { type ContainerRecord, mountsOf } from '../lifecycle/record.ts';
import { logBounds } from '../lifecycle/rotate-log.ts';
import { settledOf } from '../lifecycle/settle.ts';
import { namespaceName, namespacePath } from '../network/namespaces.ts';
import { Mutex } from '../system/mutex.ts';
import { identify } from '../system/processes.ts';
import { settle } from '../system/settle.ts';
import { type AssemblyOptions, BundleWriter, type Ground, hostnames, moveToNamespace } from './bundle.ts';
import { createWithConmon } from './conmon.ts';
import { commandLine } from './generate-spec.ts';
import { remapVolumes } from './host-files.ts';
import type { IdRanges } from './id-ranges.ts';
import type { IdMappings } from './idmapped-mount.ts';
import { imageVolumes } from './image-volumes.ts';
import { mountMappedRoot } from './mapped-root.ts';
import { hostsText, rewriteInPlace } from './name-files.ts';
import { containerPaths } from './paths.ts';
import {
  adoptNamespace,
  type Connected,
  connectPlace,
  isAdopted,
  type Place,
  placeOf,
  prepareNamespace,
} from './place.ts';
import { renewLimits } from './renew-limits.ts';
import type { OciProcess } from './spec.ts';

type Built = Pick<PreparedContainer, 'process' | 'address' | 'networks'>;

/** Builds containers. What it made is taken apart by {@link Releaser}, after a failure too. */
export class Assembler {
  private readonly options: AssemblyOptions;
  private readonly hostsWriter = new Mutex();
  private readonly ids: IdRanges;
  private readonly bundles: BundleWriter;

  constructor(options: AssemblyOptions) {
    this.options = options;
    this.ids = options.ids;
    this.bundles = new BundleWriter(options);
  }

  /** Builds a new container. */
  async prepare(record: ContainerRecord, spec: ContainerSpec): Promise<PreparedContainer> {
    const { images } = this.options;
    const { image, top } = await images.unpack(await images.requireTrusted(spec.image));
    const paths = containerPaths(this.options.home, record.id);
    await mkdir(paths.rootfs, { recursive: true, mode: 0o700 });
    await mkdir(paths.upper, { mode: 0o755 });
    let process: OciProcess | undefined;
    const own = imageVolumes(record.id, spec, image.config.config);
    const whole = { ...spec, mounts: [...(spec.mounts ?? []), ...own] };
    const built = await this.build(record, top, async (ground) => {
      process = await this.bundles.write(record, whole, image.config.config, ground);
    });
    return {
      ...settledOf(spec, image.config.config, {
        command: commandLine(spec, image.config.config),
        environment: process?.env ?? [],
        workingDirectory: process?.cwd ?? '/',
      }),
      hostname: hostnames(record).hostname,
      imageDigest: image.digest,
      ...(own.length === 0 ? {} : { imageVolumes: own }),
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
      await renewLimits(record, paths.bundle, this.options.layout.version);
      if (mappings !== undefined) {
        await remapVolumes(mountsOf(record), this.options.volumes, record.id, mappings);
      }
      // The container whose network it shares may be another process by now.
      if (place.kind === 'container') await moveToNamespace(namespace, paths.bundle);
    });
    return { stopSignal: record.stopSignal, ...built };
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
}
