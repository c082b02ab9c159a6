// The ContainerRuntime contract made executable: every runtime runs these cases unchanged.

import type { ContainerRuntime } from '../contracts/container-runtime.ts';
import { eventCases } from './container-runtime/events.ts';
import { fileCases } from './container-runtime/files.ts';
import { inputOutputCases } from './container-runtime/input-output.ts';
import { isolationCases } from './container-runtime/isolation.ts';
import { lifecycleCases } from './container-runtime/lifecycle.ts';
import { recoveryCases } from './container-runtime/recovery.ts';
import { restartCases } from './container-runtime/restarts.ts';
import { signalCases } from './container-runtime/signals.ts';
import { terminalAndAttachCases } from './container-runtime/terminals.ts';
import type { ConformanceCase } from './suite.ts';

/** What the suite needs beside a fresh runtime that has no containers yet. */
export interface ContainerRuntimeHarness extends AsyncDisposable {
  readonly runtime: ContainerRuntime;
  /** An image (or what the runtime takes for one) in which {@link ContainerRuntimeHarness.node} runs. */
  readonly image: string;
  /** The Node program inside the image. Default `node`. */
  readonly node?: string;
  /** A name of an image that is not there. */
  readonly missingImage: string;
  /**
   * Lets the runtime go without any clean-up, as kill -9 of its process does, and answers another one over the same
   * state. Default: the cases of recovery are left out.
   */
  crash?(): Promise<ContainerRuntime>;
  /** What the machine still has of a container: mounts, namespaces, cgroups, addresses, processes. */
  leftovers?(id: string): Promise<readonly string[]>;
}

/**
 * Cases for any {@link ContainerRuntime}. Cases for an ability the runtime does not have check that it says
 * `NOT_SUPPORTED` instead. The harness's disposal must remove what a failed case left.
 */
export const containerRuntimeConformance: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  ...lifecycleCases,
  ...signalCases,
  ...inputOutputCases,
  ...isolationCases,
  ...eventCases,
  ...recoveryCases,
  ...restartCases,
  ...terminalAndAttachCases,
  ...fileCases,
];
