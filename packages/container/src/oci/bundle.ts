// Writes what the runtime reads of a container: config.json, and the files that it names.

import { readFile, realpath, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import type { Clock, ContainerSpec } from '@heptad/core';
import type { ImageStore } from '../image/image-store.ts';
import { hostArchitecture, type ImageConfig } from '../image/manifest.ts';
import { notSupported } from '../lifecycle/not-supported.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { isRootless, mappedGroups } from '../rootless/enter.ts';
import { writeFileAtomic } from '../system/files.ts';
import { settle } from '../system/settle.ts';
import { type CgroupLayout, containerCgroup } from './cgroup.ts';
import { resolveDevices } from './devices.ts';
import { type BindMount, generateSpec } from './generate-spec.ts';
import { INIT_TARGET } from './helpers.ts';
import { hostMounts, writeSecrets } from './host-files.ts';
import type { IdRanges } from './id-ranges.ts';
import type { IdMappings } from './idmapped-mount.ts';
import { requireIoWeight } from './io-limits.ts';
import { lockedFlags } from './mounts.ts';
import { type HostsContent, identityMounts, writeIdentityFiles } from './name-files.ts';
import { boundAllContainers } from './parent-cgroup.ts';
import { containerPaths } from './paths.ts';
import type { Place, PlaceOptions } from './place.ts';
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
export interface Ground {
  readonly place: Place;
  readonly namespace: string;
  /** Where the runtime finds the root file system. */
  readonly rootfs: string;
  readonly mappings: IdMappings | undefined;
}

/** Writes bundles. */
export class BundleWriter {
  private readonly options: AssemblyOptions;
  private profile: Promise<SeccompProfile> | undefined;

  constructor(options: AssemblyOptions) {
    this.options = options;
  }

  /** Writes the bundle of a new container; answers what will run. */
  async write(
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

  private async seccompFor(spec: ContainerSpec): Promise<OciSeccomp> {
    this.profile ??= loadSeccompProfile();
    const machine = { architecture: hostArchitecture(), kernel: release() };
    return seccompFor(await this.profile, machine, spec.capabilities);
  }
}

/** Lets the bundle of a container that is started again join another network namespace. */
export async function moveToNamespace(namespace: string, bundle: string): Promise<void> {
  const path = join(bundle, 'config.json');
  // We wrote this file ourselves.
  const config = JSON.parse(await readFile(path, 'utf8')) as OciSpec;
  const namespaces = config.linux.namespaces.map((each) =>
    each.type === 'network' ? { ...each, path: namespace } : each,
  );
  const moved: OciSpec = { ...config, linux: { ...config.linux, namespaces } };
  await writeFileAtomic(path, JSON.stringify(moved), { durable: false });
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

/** How a container calls itself. */
export function hostnames(record: ContainerRecord): { hostname: string; name: string } {
  return { hostname: record.spec.hostname ?? record.id.slice(0, 12), name: record.name };
}
