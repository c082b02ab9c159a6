// OciRuntime: real containers by runc or crun, without a daemon.

import { rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock, ContainerId, Random } from '@heptad/core';
import { systemClock, systemRandom } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ImageStore } from '../image/image-store.ts';
import { ChoosingDriver } from '../lifecycle/choosing-driver.ts';
import { openHome } from '../lifecycle/home.ts';
import { ManagedRuntime } from '../lifecycle/managed-runtime.ts';
import { type NetworkBackend, networksByName } from '../network/backend.ts';
import type { NetworkJoiner } from '../network/networks.ts';
import { type MachineSettings, makeVmDriver } from '../vm/make-driver.ts';
import { VirtualMachines } from '../vm/virtual-machines.ts';
import { CGROUP_PARENT } from './bundle.ts';
import { cgroupDirectories, containerCgroup } from './cgroup.ts';
import { type IdPool, IdRanges } from './id-ranges.ts';
import { OciJoiner } from './joiner.ts';
import { OciDriver } from './oci-driver.ts';
import type { PlaceOptions } from './place.ts';
import { type OciProbe, probeOci } from './probe.ts';

/** Options of {@link OciRuntime.open}. */
export interface OciRuntimeOptions {
  /** The directory of this runtime's containers. One process at a time. */
  readonly home: string;
  readonly images: ImageStore;
  /** Networks; a map may grow and shrink later. Default none, so that containers have only a loopback interface. */
  readonly networks?: readonly NetworkBackend[] | ReadonlyMap<string, NetworkBackend>;
  /** The network of a container that names none. Default the first of `networks`, else `none`. */
  readonly defaultNetwork?: string;
  /** Where named volumes live. Default `<home>/volumes`. */
  readonly volumes?: string;
  /** Runtimes to try, in order. Default runc, then crun. */
  readonly candidates?: readonly string[];
  /**
   * Ids of the host for containers with `userNamespace: 'auto'`, 65 536 each. Default the largest range that /etc/subuid and
   * /etc/subgid both give to `heptad` or `containers`, else 1 342 177 280 and the 268 435 456 after it.
   */
  readonly userIds?: IdPool;
  /** A probe made before, which saves making it again. */
  readonly probe?: OciProbe;
  /** How containers with `runtime: 'vm'` become virtual machines. */
  readonly machines?: MachineSettings;
  readonly clock?: Clock;
  readonly random?: Random;
}

/**
 * Containers in namespaces and cgroups, run by runc or crun under conmon. They outlive this process; after a restart
 * `recover()` adopts them.
 */
export class OciRuntime extends ManagedRuntime {
  #parentCgroups: readonly string[] = [];
  #places: PlaceOptions | undefined;
  #machines: VirtualMachines | undefined;

  /** What the virtual machines among its containers (`runtime: 'vm'` of their spec) can do beyond the others. */
  get machines(): VirtualMachines | undefined {
    return this.#machines;
  }

  /** Probes the machine and opens `home`. Throws `RUNTIME_UNAVAILABLE` with every reason, `HOME_IN_USE`. */
  static async open(options: OciRuntimeOptions): Promise<OciRuntime> {
    const probe = options.probe ?? (await probeOci(options.candidates));
    const { runtime, layout } = probe;
    if (!probe.ok || runtime === undefined || layout === undefined) {
      throw new ContainerError(
        'RUNTIME_UNAVAILABLE',
        `no OCI runtime works here: ${probe.reasons.join('; ')}`,
        {
          hint: 'follow the reasons given, or use the process runtime',
          details: { reasons: probe.reasons },
        },
      );
    }
    const ports = {
      home: options.home,
      clock: options.clock ?? systemClock,
      random: options.random ?? systemRandom,
    };
    const opened = await openHome(ports.home);
    const networks = networksByName(options.networks ?? []);
    const volumes = options.volumes ?? join(options.home, 'volumes');
    let oci: OciRuntime | undefined;
    const places: PlaceOptions = {
      networks,
      defaultNetwork: options.defaultNetwork ?? networks.keys().next().value ?? 'none',
      find: (reference) => oci?.containers.find(reference)?.record,
    };
    const { home, images } = options;
    const driver = await OciDriver.open({
      home,
      images,
      volumes,
      ...places,
      ids: new IdRanges({ pool: options.userIds }),
      clock: ports.clock,
      probe: { ...probe, runtime, layout },
    });
    const vm = makeVmDriver({ ...options.machines, ...places, home, images, volumes, clock: ports.clock });
    oci = new OciRuntime(new ChoosingDriver(driver, vm.driver), ports, opened);
    oci.#places = places;
    oci.#machines = new VirtualMachines({
      ...ports,
      ...vm,
      runtime: oci,
      recordOf: (id) => opened.containers.byId(id)?.record,
    });
    oci.#parentCgroups = cgroupDirectories(layout, containerCgroup(CGROUP_PARENT, 'any')).map(dirname);
    return oci;
  }

  /** Lets containers join and leave networks while they run. */
  networkJoiner(): NetworkJoiner {
    const places = this.#places;
    if (places === undefined) throw new TypeError('the runtime was not opened');
    return new OciJoiner(places, (reference, section) =>
      this.exclusive(reference, async ({ record }) => {
        await section(record);
        await this.containers.save(record, { durable: false });
      }),
    );
  }

  /** Writes /etc/hosts of running containers anew, after others came to their networks or left. */
  async refreshHosts(ids: readonly ContainerId[]): Promise<void> {
    for (const id of ids) {
      const entry = this.containers.byId(id);
      if (entry === undefined || entry.removed || entry.record.process === undefined) continue;
      // One that is being taken apart at this moment needs no names any more.
      await this.driver.setHosts(entry.record).catch(() => undefined);
    }
  }

  /** Lets go of `home`; containers run on. Whoever is the last to have containers here takes their parent cgroup along. */
  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    // A cgroup with containers in it, ours or another engine's, refuses to be removed: that is the test.
    for (const directory of this.#parentCgroups) await rmdir(directory).catch(() => undefined);
  }
}
