// Both runtimes against the one suite of the ContainerRuntime contract.

import { rm } from 'node:fs/promises';
import type { ImageStore, OciRuntime, ProcessRuntime } from '@heptad/container';
import type { ContainerRuntime } from '@heptad/core';
import { type ContainerRuntimeHarness, containerRuntimeConformance } from '@heptad/core/conformance';
import { afterAll, beforeAll, describe, it } from 'vitest';
import {
  IMAGE,
  leftovers,
  noContainers,
  openOci,
  openProcess,
  tearDown,
  temporaryDirectory,
  testImages,
  testNetwork,
} from './support.ts';

let base: string;
let images: ImageStore;

beforeAll(async () => {
  base = await temporaryDirectory();
  images = await testImages(base);
});

afterAll(async () => {
  if (noContainers === undefined) await testNetwork(base).removeBridge();
  await rm(base, { recursive: true, force: true });
});

class Harness implements ContainerRuntimeHarness {
  readonly image = IMAGE;
  readonly missingImage = 'heptad-test/missing:1';
  runtime: ContainerRuntime;
  private owned: OciRuntime | ProcessRuntime;
  private readonly home: string;
  private readonly open: (home: string) => Promise<OciRuntime | ProcessRuntime>;

  constructor(
    runtime: OciRuntime | ProcessRuntime,
    home: string,
    open: (home: string) => Promise<OciRuntime | ProcessRuntime>,
  ) {
    this.runtime = runtime;
    this.owned = runtime;
    this.home = home;
    this.open = open;
  }

  async crash(): Promise<ContainerRuntime> {
    // Disposal only lets go; what a real kill -9 leaves is tested in survival.test.ts.
    await this.owned[Symbol.asyncDispose]();
    this.owned = await this.open(this.home);
    this.runtime = this.owned;
    return this.owned;
  }

  leftovers(id: string): Promise<string[]> {
    return leftovers(this.home, id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await tearDown(this.owned, this.home);
  }
}

function suite(open: (home: string) => Promise<OciRuntime | ProcessRuntime>): void {
  for (const { name, run } of containerRuntimeConformance) {
    it(name, async () => {
      await run(async () => {
        const home = await temporaryDirectory();
        return new Harness(await open(home), home, open);
      });
    });
  }
}

describe.skipIf(noContainers !== undefined)('OciRuntime', () => suite((home) => openOci(home, images)));
describe('ProcessRuntime', () => suite((home) => openProcess(home, images)));
