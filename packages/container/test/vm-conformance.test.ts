// VmRuntime against the suite of the ContainerRuntime contract. Every case boots machines, so the whole suite is for
// hosts with KVM; where guests are emulated a part of it stands for the rest, unless HEPTAD_VM_FULL=1 asks for all.

import { rm } from 'node:fs/promises';
import type { ImageStore, VmRuntime } from '@heptad/container';
import type { ContainerRuntime } from '@heptad/core';
import { type ContainerRuntimeHarness, containerRuntimeConformance } from '@heptad/core/conformance';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { IMAGE, leftovers, noContainers, temporaryDirectory, testImages, testNetwork } from './support.ts';
import { noMachines, openVm } from './vm-support.ts';

/** Cases with few and short programs: those wait 20 s for what an emulated processor does in more on a busy host. */
const EMULATED: readonly RegExp[] = [
  /^isolation: it cannot gain privileges/,
  /^secret files/,
  /^exec: output of both streams/,
  /^network: its address answers/,
];

let base: string;
let images: ImageStore;
let emulated = false;

beforeAll(async () => {
  base = await temporaryDirectory();
  images = await testImages(base);
  if (noMachines !== undefined) return;
  await using runtime = await openVm(base, images, base);
  emulated = (await runtime.machines.virtualization()).accelerator === 'tcg';
}, 120_000);

afterAll(async () => {
  if (noContainers === undefined) await testNetwork(base).removeBridge();
  await rm(base, { recursive: true, force: true });
});

class Harness implements ContainerRuntimeHarness {
  readonly image = IMAGE;
  readonly missingImage = 'heptad-test/missing:1';
  runtime: ContainerRuntime;
  private owned: VmRuntime;
  private readonly home: string;

  constructor(runtime: VmRuntime, home: string) {
    this.runtime = runtime;
    this.owned = runtime;
    this.home = home;
  }

  async crash(): Promise<ContainerRuntime> {
    await this.owned[Symbol.asyncDispose]();
    this.owned = await openVm(this.home, images, base, [testNetwork(this.home)]);
    this.runtime = this.owned;
    return this.owned;
  }

  leftovers(id: string): Promise<string[]> {
    return leftovers(this.home, id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { id } of await this.owned.list()) await this.owned.remove(id, { force: true });
    await this.owned[Symbol.asyncDispose]();
    await rm(this.home, { recursive: true, force: true });
  }
}

describe.skipIf(noMachines !== undefined || noContainers !== undefined)('VmRuntime', () => {
  for (const { name, run } of containerRuntimeConformance) {
    it(name, { timeout: 300_000 }, async (context) => {
      const chosen = EMULATED.some((pattern) => pattern.test(name));
      if (emulated && !chosen && process.env.HEPTAD_VM_FULL !== '1') context.skip('guests are emulated here');
      await run(async () => {
        const home = await temporaryDirectory();
        return new Harness(await openVm(home, images, base, [testNetwork(home)]), home);
      });
    });
  }
});
