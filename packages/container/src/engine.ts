// ContainerEngine: images, networks and the best runtime of this machine behind one object, without a daemon.

import { join } from 'node:path';
import type {
  Clock,
  ContainerRuntime,
  ContainerSpec,
  Random,
  RuntimeProbe,
  TerminalSize,
} from '@heptad/core';
import { systemClock, systemRandom } from '@heptad/core';
import { type CheckOptions, type CheckReport, checkEngine, repairEngine } from './check.ts';
import { Container } from './container.ts';
import { type EngineRuntime, type EngineRuntimeName, openEngineRuntime } from './engine-runtime.ts';
import { ContainerError } from './errors.ts';
import { ImageStore } from './image/image-store.ts';
import type { LayerLimits } from './image/layer-limits.ts';
import type { ManagedRuntime } from './lifecycle/managed-runtime.ts';
import type { NetworkBackend } from './network/backend.ts';
import { EngineNetwork } from './network/engine-network.ts';
import { Networks } from './network/networks.ts';
import { SlirpNetwork } from './network/slirp.ts';
import type { IdPool } from './oci/id-ranges.ts';
import { OciRuntime } from './oci/oci-runtime.ts';
import { keepHostsCurrent } from './oci/peer-names.ts';
import { type OciProbe, probeOci } from './oci/probe.ts';
import { ensureImage, type PullPolicy } from './registry/ensure-image.ts';
import type { Operation } from './registry/operation.ts';
import type { TransferEvent } from './registry/progress.ts';
import type { PulledImage, PullOptions } from './registry/pull.ts';
import { RegistryClient, type RegistryClientOptions } from './registry/registry-client.ts';
import type { TrustPolicy } from './trust/policy.ts';
import type { MachineSettings } from './vm/make-driver.ts';
import type { VirtualMachines } from './vm/virtual-machines.ts';

/** The bridge network of an engine. */
export interface EngineNetworkOptions {
  /** Name of the Linux bridge, at most 15 characters. Default `heptad0`. */
  readonly bridgeName?: string;
  /** Default `10.87.0.0/16`. */
  readonly subnet?: string;
  /** The host's address on the bridge. Default the first of the subnet. */
  readonly gateway?: string;
  /** Containers reach the host but not each other. Default false. */
  readonly isolated?: boolean;
  /** Containers reach what the host reaches. Default: the opposite of `isolated`. */
  readonly masquerade?: boolean;
  /** The engine answers names at the gateway, as long as it is open. Default: the opposite of `isolated`. */
  readonly dns?: boolean;
}

/** Options of {@link ContainerEngine.open}. */
export interface ContainerEngineOptions {
  /** The directory of everything: images, containers, volumes. Made when missing; one process at a time. */
  readonly home: string;
  /** The image store's directory. Default `images` in `home`; several engines may share one. */
  readonly imagesHome?: string;
  /**
   * `auto` (default): real containers where they work, else plain processes. `vm`: every container is a virtual machine.
   */
  readonly runtime?: 'auto' | EngineRuntimeName;
  /** How virtual machines are made: all containers with `runtime: 'vm'`, those whose spec says so with `oci`. */
  readonly machines?: MachineSettings;
  /** The default network of containers; `none` makes no bridge. Default a bridge with default options. */
  readonly network?: EngineNetworkOptions | 'none';
  /** Servers that names of no container are asked of, `address` or `address#port`. Default those of the host. */
  readonly nameServers?: readonly string[];
  /** Ids of the host for containers with `userNamespace: 'auto'`. Default as in {@link OciRuntimeOptions.userIds}. */
  readonly userIds?: IdPool;
  /** How far one image layer may go when unpacked. */
  readonly layerLimits?: Partial<LayerLimits>;
  /** How images are pulled: credentials, authorities, mirrors. */
  readonly registry?: RegistryClientOptions;
  /** Which images may be pulled and run. Default what `trust.json` in the image store's directory says; without it, all. */
  readonly trust?: TrustPolicy;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** Options of {@link ContainerEngine.run}. */
export interface RunOptions {
  /** When the image is pulled. Default `never`: a program should say where its images come from. */
  readonly pull?: PullPolicy;
  readonly onPullProgress?: (event: TransferEvent) => void;
  /** The size that the terminal of a spec with `tty` has from the start. */
  readonly terminalSize?: TerminalSize;
  /** Ends the pull; a container that has been created is not affected. */
  readonly signal?: AbortSignal;
}

/** What {@link ContainerEngine.probe} found out. */
export interface EngineProbe extends RuntimeProbe {
  /** The runtime in use. */
  readonly runtime: EngineRuntimeName;
}

/**
 * Images and containers of one machine.
 *
 * @example
 * ```ts
 * import { mkdtemp, rm, writeFile } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { buildNodeImage, ContainerEngine } from '@heptad/container';
 *
 * const home = await mkdtemp(join(tmpdir(), 'engine-'));
 * const app = await mkdtemp(join(tmpdir(), 'app-'));
 * await writeFile(join(app, 'main.mjs'), 'console.log("hello from pid", process.pid)');
 * {
 *   await using engine = await ContainerEngine.open({ home, network: 'none' });
 *   await buildNodeImage({ images: engine.images, name: 'hello', directory: app, main: 'main.mjs' });
 *   const container = await engine.run({ name: 'greeter', image: 'hello' });
 *   const { exitCode } = await container.wait();
 *   for await (const line of container.logs()) console.log(line.text, exitCode);
 *   await container.remove();
 * }
 * await Promise.all([home, app].map((path) => rm(path, { recursive: true })));
 * ```
 */
export class ContainerEngine implements AsyncDisposable {
  readonly home: string;
  readonly images: ImageStore;
  /** The runtime in use. */
  readonly runtime: ContainerRuntime;
  /** The default bridge network; absent with `network: 'none'` and for the process runtime. */
  readonly network: EngineNetwork | undefined;
  /** All its networks: made, removed, joined and left. */
  readonly networks: Networks;
  /** The client that {@link pull} uses. */
  readonly registry: RegistryClient;
  /** What virtual machines can do beyond containers; absent for the process runtime. */
  readonly machines: VirtualMachines | undefined;
  private readonly managed: ManagedRuntime;
  private readonly kind: EngineRuntimeName;
  private readonly reasons: readonly string[];

  private constructor(parts: {
    home: string;
    images: ImageStore;
    runtime: EngineRuntime;
    networks: Networks;
    registry: RegistryClient;
  }) {
    this.home = parts.home;
    this.images = parts.images;
    const { managed, kind, network, machines, reasons } = parts.runtime;
    this.runtime = managed;
    this.managed = managed;
    this.kind = kind;
    this.network = network;
    this.machines = machines;
    this.networks = parts.networks;
    this.registry = parts.registry;
    this.reasons = reasons;
  }

  /**
   * Opens the engine in `home`, chooses a runtime, adopts containers that run, and clears up after a crash.
   * Throws `RUNTIME_UNAVAILABLE` (with every reason) when the `runtime` asked for cannot be, `HOME_IN_USE`.
   */
  static async open(options: ContainerEngineOptions): Promise<ContainerEngine> {
    const clock = options.clock ?? systemClock;
    const random = options.random ?? systemRandom;
    const images = await ImageStore.open({
      home: options.imagesHome ?? join(options.home, 'images'),
      clock,
      random,
      ...(options.layerLimits === undefined ? {} : { layerLimits: options.layerLimits }),
      ...(options.trust === undefined ? {} : { trust: options.trust }),
    });
    const wanted = options.runtime ?? 'auto';
    const none: OciProbe = { ok: false, reasons: [] };
    const probe = wanted === 'process' || wanted === 'vm' ? none : await probeOci();
    const rootless = probe.rootless === true;
    const network = options.network === 'none' || rootless ? undefined : bridgeOf(options, clock);
    const live = new Map(network === undefined ? [] : [[network.name, network]]);
    const networks = new Networks(
      join(options.home, 'network', 'networks'),
      live,
      clock,
      options.nameServers,
    );
    const runtime = await openEngineRuntime({
      home: options.home,
      wanted,
      probe,
      images,
      network,
      networks: rootless && options.network !== 'none' ? await slirpOf(options) : live,
      userIds: options.userIds,
      machines: options.machines,
      clock,
      random,
    });
    const engine = new ContainerEngine({
      home: options.home,
      images,
      runtime,
      networks,
      registry: new RegistryClient({ clock, random, ...options.registry }),
    });
    try {
      // Only now is the home directory ours.
      const { managed, kind } = runtime;
      if (managed instanceof OciRuntime && !rootless) await serveNetworks(networks, managed);
      else if (kind === 'vm') await networks.load();
      await managed.recover();
      return engine;
    } catch (error) {
      await engine.close();
      throw error;
    }
  }

  /** What the runtime in use can do, and why better ones were not chosen, with how to get them. */
  async probe(): Promise<EngineProbe> {
    const probe = await this.runtime.probe();
    return {
      ...probe,
      runtime: this.kind,
      reasons: [...new Set([...this.reasons, ...probe.reasons])],
    };
  }

  /** Makes the default bridge with its gateway address, so that something can listen there before the first container. */
  async ensureBridge(): Promise<{ bridgeName: string; gateway: string }> {
    if (this.network === undefined) {
      throw new ContainerError(
        'NOT_SUPPORTED',
        `the ${this.runtime.name} runtime of this engine has no bridge network`,
        {
          hint: 'open the engine with the oci runtime and a network',
        },
      );
    }
    await this.network.ensureBridge();
    return { bridgeName: this.network.bridgeName, gateway: this.network.gateway };
  }

  /**
   * Pulls an image, layers unpacked where the runtime needs that. Await it, iterate it for progress, or both. Throws as
   * {@link RegistryClient.pull}.
   */
  pull(reference: string, options: PullOptions = {}): Operation<TransferEvent, PulledImage> {
    return this.registry.pull(this.images, reference, { unpack: this.unpacksImages, ...options });
  }

  /** Creates and starts a container, after a pull when `options.pull` says so. One that cannot be started is removed again. */
  async run(spec: ContainerSpec, options: RunOptions = {}): Promise<Container> {
    await ensureImage(this.images, this.registry, spec.image, {
      policy: options.pull ?? 'never',
      unpack: this.unpacksImages,
      onProgress: options.onPullProgress,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const id = await this.runtime.create(spec);
    try {
      // Before the program runs: many ask for the size once, at their start.
      if (spec.tty === true && options.terminalSize !== undefined)
        await this.runtime.resize(id, options.terminalSize);
      await this.runtime.start(id);
    } catch (error) {
      await this.runtime.remove(id, { force: true, volumes: true }).catch(() => undefined);
      throw error;
    }
    return new Container(this.runtime, id, spec.name);
  }

  /** A handle on an existing container, by id, prefix or name. Throws `CONTAINER_NOT_FOUND`. */
  async container(reference: string): Promise<Container> {
    const { id, name } = await this.runtime.inspect(reference);
    return new Container(this.runtime, id, name);
  }

  /** Deletes image data that neither a name nor a container needs. */
  async prune(options: { minimumAgeMs?: number } = {}): Promise<Awaited<ReturnType<ImageStore['gc']>>> {
    const containers = await this.runtime.list();
    const inUse = containers.flatMap(({ imageDigest }) => (imageDigest === undefined ? [] : [imageDigest]));
    return await this.images.gc({ ...options, inUse, containers: containers.map(({ id }) => id) });
  }

  /** Looks through everything on disk and says what is damaged; with `deep`, reads every byte. Changes nothing. */
  async check(options: CheckOptions = {}): Promise<CheckReport> {
    return await checkEngine(this.images, this.managed, options);
  }

  /** Drops or sets aside exactly what {@link check} finds damaged; the rest is not touched. */
  async repair(options: CheckOptions = {}): Promise<CheckReport> {
    return await repairEngine(this.images, this.managed, options);
  }

  /** Lets go of the home directory. Containers run on. */
  async close(): Promise<void> {
    await this.networks[Symbol.asyncDispose]();
    await this.registry.close();
    await this.managed[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Only overlayfs needs layers as directories; the process runtime takes what it needs out of the archives. */
  private get unpacksImages(): boolean {
    return this.kind !== 'process';
  }
}

function bridgeOf(options: ContainerEngineOptions, clock: Clock): EngineNetwork {
  const network = options.network === 'none' ? {} : (options.network ?? {});
  return new EngineNetwork({
    directory: join(options.home, 'network'),
    // Isolated containers cannot reach each other, so there are no names to answer for.
    dns: network.isolated !== true,
    ...network,
    hostsFallback: false,
    nameServers: options.nameServers,
    clock,
  });
}

/** The network of an ordinary user; none without its helper, which the probe then names. */
async function slirpOf(options: ContainerEngineOptions): Promise<NetworkBackend[]> {
  const slirp = new SlirpNetwork({ directory: join(options.home, 'slirp') });
  return (await slirp.probe()).length === 0 ? [slirp] : [];
}

async function serveNetworks(networks: Networks, runtime: OciRuntime): Promise<void> {
  await networks.load();
  networks.joinBy(runtime.networkJoiner());
  networks.onChange = keepHostsCurrent((ids) => runtime.refreshHosts(ids));
}
