// Chooses the runtime of an engine: what was asked for, or the best that works here.

import { join } from 'node:path';
import type { Clock, Random } from '@heptad/core';
import type { ImageStore } from './image/image-store.ts';
import type { ManagedRuntime } from './lifecycle/managed-runtime.ts';
import type { NetworkBackend } from './network/backend.ts';
import type { EngineNetwork } from './network/engine-network.ts';
import type { IdPool } from './oci/id-ranges.ts';
import { OciRuntime } from './oci/oci-runtime.ts';
import type { OciProbe } from './oci/probe.ts';
import { ProcessRuntime } from './process/process-runtime.ts';
import type { MachineSettings } from './vm/make-driver.ts';
import type { VirtualMachines } from './vm/virtual-machines.ts';
import { VmRuntime } from './vm/vm-runtime.ts';

/** The runtimes an engine can have. */
export type EngineRuntimeName = 'oci' | 'process' | 'vm';

/** What a runtime is opened with. */
export interface EngineRuntimeOptions {
  readonly home: string;
  readonly wanted: 'auto' | EngineRuntimeName;
  /** What was found out about OCI runtimes; `ok: false` where none is wanted. */
  readonly probe: OciProbe;
  readonly images: ImageStore;
  readonly network: EngineNetwork | undefined;
  /** All networks by name; changes as they come and go. */
  readonly networks: readonly NetworkBackend[] | ReadonlyMap<string, NetworkBackend>;
  readonly userIds: IdPool | undefined;
  readonly machines: MachineSettings | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

/** A runtime, and what was found out on the way to it. */
export interface EngineRuntime {
  readonly managed: ManagedRuntime;
  readonly kind: EngineRuntimeName;
  /** The network, where the runtime uses it. */
  readonly network: EngineNetwork | undefined;
  readonly machines: VirtualMachines | undefined;
  /** Why a better one was not chosen. */
  readonly reasons: readonly string[];
}

/** Opens the runtime. Throws `RUNTIME_UNAVAILABLE` when the one asked for cannot be, `HOME_IN_USE`. */
export async function openEngineRuntime(options: EngineRuntimeOptions): Promise<EngineRuntime> {
  const { home, wanted, probe, images, network, networks, clock, random } = options;
  const volumes = join(home, 'volumes');
  const machines = options.machines === undefined ? {} : { machines: options.machines };
  const userIds = options.userIds === undefined ? {} : { userIds: options.userIds };
  if (wanted === 'vm') {
    const common = { home: join(home, 'vm'), volumes, images, networks, clock, random };
    const none = network === undefined ? { defaultNetwork: 'none' } : {};
    const managed = await VmRuntime.open({ ...common, ...none, ...options.machines });
    return { managed, kind: 'vm', network, machines: managed.machines, reasons: [] };
  }
  if (wanted === 'oci' || (wanted === 'auto' && probe.ok)) {
    const common = { home: join(home, 'oci'), volumes, images, networks, probe, clock, random };
    const managed = await OciRuntime.open({ ...common, ...machines, ...userIds });
    return { managed, kind: 'oci', network, machines: managed.machines, reasons: probe.reasons };
  }
  const managed = await ProcessRuntime.open({ home: join(home, 'process'), images, clock, random });
  return { managed, kind: 'process', network: undefined, machines: undefined, reasons: probe.reasons };
}
