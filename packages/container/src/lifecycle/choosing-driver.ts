// One runtime of several drivers: each container says which, the lifecycle around them is one.

import type { ContainerId, ContainerSpec, RuntimeCapabilities, RuntimeProbe } from '@heptad/core';
import type { PreparedContainer, RuntimeDriver } from './driver.ts';
import { notSupported } from './not-supported.ts';
import type { ContainerRecord } from './record.ts';

/** The methods of a driver that are about one container. */
type Verb<Args extends unknown[], Result> = (record: ContainerRecord, ...rest: Args) => Promise<Result>;

/**
 * Containers whose spec names no runtime, or the first driver's, are the first driver's; others are those of the driver
 * they name. Names, locks, events, and the directory of records are shared, which is why this is a driver and not a
 * runtime over runtimes.
 */
export class ChoosingDriver implements RuntimeDriver {
  readonly name: string;
  readonly capabilities: RuntimeCapabilities;
  private readonly drivers: readonly [RuntimeDriver, ...RuntimeDriver[]];

  constructor(first: RuntimeDriver, ...others: readonly RuntimeDriver[]) {
    this.name = first.name;
    this.capabilities = first.capabilities;
    this.drivers = [first, ...others];
  }

  /** The driver of a spec. Throws `NOT_SUPPORTED` when it names one that is not here. */
  forSpec({ name, runtime }: Pick<ContainerSpec, 'name' | 'runtime'>): RuntimeDriver {
    const [first] = this.drivers;
    if (runtime === undefined) return first;
    const chosen = this.drivers.find((driver) => driver.name === runtime);
    if (chosen !== undefined) return chosen;
    throw notSupported(first.name, `create container "${name}" with the ${runtime} runtime`, runtime);
  }

  async probe(): Promise<RuntimeProbe> {
    const [first, ...more] = this.drivers;
    const others: string[] = [];
    for (const driver of more) {
      const missing = (await driver.missing?.()) ?? [];
      if (missing.length === 0) others.push(driver.name);
    }
    return { ...(await first.probe()), others };
  }

  prepare(record: ContainerRecord, spec: ContainerSpec): Promise<PreparedContainer> {
    return this.forSpec(spec).prepare(record, spec);
  }

  readonly revive: RuntimeDriver['revive'] = this.verb((driver) => driver.revive.bind(driver));
  readonly start: RuntimeDriver['start'] = this.verb((driver) => driver.start.bind(driver));
  readonly signal: RuntimeDriver['signal'] = this.verb((driver) => driver.signal.bind(driver));
  readonly pause: RuntimeDriver['pause'] = this.verb((driver) => driver.pause.bind(driver));
  readonly resume: RuntimeDriver['resume'] = this.verb((driver) => driver.resume.bind(driver));
  readonly update: RuntimeDriver['update'] = this.verb((driver) => driver.update.bind(driver));
  readonly exec: RuntimeDriver['exec'] = this.verb((driver) => driver.exec.bind(driver));
  readonly stats: RuntimeDriver['stats'] = this.verb((driver) => driver.stats.bind(driver));
  readonly setHosts: RuntimeDriver['setHosts'] = this.verb((driver) => driver.setHosts.bind(driver));
  readonly observe: RuntimeDriver['observe'] = this.verb((driver) => driver.observe.bind(driver));
  readonly release: RuntimeDriver['release'] = this.verb((driver) => driver.release.bind(driver));
  readonly tend: RuntimeDriver['tend'] = this.verb((driver) => driver.tend.bind(driver));

  async sweep(known: ReadonlySet<ContainerId>): Promise<string[]> {
    const freed: string[] = [];
    for (const driver of this.drivers) freed.push(...(await driver.sweep(known)));
    return freed;
  }

  watchExits(listener: (id: ContainerId) => void): AsyncDisposable {
    const watches = this.drivers.map((driver) => driver.watchExits(listener));
    return {
      async [Symbol.asyncDispose]() {
        for (const watch of watches) await watch[Symbol.asyncDispose]();
      },
    };
  }

  private verb<Args extends unknown[], Result>(
    of: (driver: RuntimeDriver) => Verb<Args, Result>,
  ): Verb<Args, Result> {
    return async (record, ...rest) => await of(this.forSpec(record.spec))(record, ...rest);
  }
}
