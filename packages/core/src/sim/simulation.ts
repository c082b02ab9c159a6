// Simulation: a whole distributed system in one process, in virtual time, replayed exactly by its seed.

import { errorMessage, HeptadError } from '../errors.ts';
import { SimDisk, type SimDiskFaults } from './disk.ts';
import { type LinkOptions, type SimHost, SimNetwork } from './network.ts';
import { ProcessClock } from './process-clock.ts';
import { SeededRandom } from './seeded-random.ts';
import { VirtualClock } from './virtual-clock.ts';

/** A run that takes longer in virtual time does not end. */
const LONGEST_RUN_MS = 24 * 3_600_000;

/** What a {@link Simulation} is made of. */
export interface SimulationOptions {
  /** A whole number. The same seed gives the same run. */
  readonly seed: number;
  /** How messages travel at first. */
  readonly link?: Partial<LinkOptions>;
}

/** A simulated process: everything from outside that code under test takes. */
export interface SimProcess {
  readonly name: string;
  readonly clock: ProcessClock;
  readonly network: SimHost;
  readonly disk: SimDisk;
  readonly random: SeededRandom;
  /** Stops it; time goes on without it. */
  pause(): void;
  /** Lets it go on; what fell due meanwhile happens at once. */
  resume(): void;
  /** kill -9: its connections break, its timers never fire. The disk keeps everything: the machine lives. */
  kill(): void;
}

/**
 * Virtual time, seeded chance, a network and disks under control.
 *
 * Between two events everything they made runnable runs to its end, so that there is exactly one order of events for a
 * seed. Code under test must take time, chance, network and disk from its process, and from nowhere else.
 *
 * Source of the method: FoundationDB's simulation (Zhou et al., SIGMOD 2021) and TigerBeetle's VOPR.
 *
 * @example
 * ```ts
 * import { Simulation } from '@heptad/core/sim';
 *
 * const simulation = new Simulation({ seed: 42 });
 * const took = await simulation.run(async () => {
 *   const { clock } = simulation.process('a');
 *   const started = clock.monotonicMs();
 *   await clock.sleep(3_600_000); // an hour, at once
 *   return clock.monotonicMs() - started;
 * });
 * console.log(took); // 3600000
 * ```
 */
export class Simulation {
  readonly seed: number;
  readonly random: SeededRandom;
  readonly clock: VirtualClock;
  readonly network: SimNetwork;
  readonly #disks = new Map<string, SimDisk>();
  readonly #failures: unknown[] = [];
  readonly #trace: string[] = [];

  constructor(options: SimulationOptions) {
    this.seed = options.seed;
    this.random = new SeededRandom(options.seed);
    this.clock = new VirtualClock();
    this.network = new SimNetwork({
      clock: this.clock,
      random: this.random.fork('network'),
      ...(options.link === undefined ? {} : { link: options.link }),
    });
  }

  /** Starts a process. One started again under the same name has the disk of the first. */
  process(name: string, options: { faults?: Partial<SimDiskFaults> } = {}): SimProcess {
    const clock = new ProcessClock(this.clock);
    const network = this.network.host(name, clock);
    const random = this.random.fork(`process ${name} ${this.#disks.size}`);
    const disk =
      this.#disks.get(name) ??
      new SimDisk({
        clock: this.clock,
        random: this.random.fork(`disk ${name}`),
        ...(options.faults === undefined ? {} : { faults: options.faults }),
      });
    this.#disks.set(name, disk);
    return {
      name,
      clock,
      network,
      disk,
      random,
      pause: () => clock.pause(),
      resume: () => clock.resume(),
      kill: () => {
        clock.kill();
        network.crash();
      },
    };
  }

  /** Notes a fact with its time. Two runs of a seed have the same {@link Simulation.trace}. */
  note(fact: string): void {
    this.#trace.push(`${this.clock.monotonicMs().toFixed(3)} ${fact}`);
  }

  /** All notes so far. */
  get trace(): readonly string[] {
    return this.#trace;
  }

  /** Runs something beside the main function; its failure fails the run. */
  spawn(task: () => Promise<void>): void {
    task().catch((error: unknown) => this.#failures.push(error));
  }

  /**
   * Runs `main` to its end, moving time from event to event.
   *
   * Errors: `SIMULATION_FAILED`, whose message has the seed and whose cause is what went wrong, also when nothing more
   * can happen while `main` still waits (a deadlock) and when it takes over a day of virtual time.
   */
  async run<T>(main: () => Promise<T>): Promise<T> {
    let outcome: { value: T } | undefined;
    main().then(
      (value) => {
        outcome = { value };
      },
      (error: unknown) => this.#failures.push(error),
    );
    for (;;) {
      const moved = await this.clock.step(LONGEST_RUN_MS);
      if (this.#failures.length > 0) throw this.#failed(this.#failures[0]);
      if (outcome !== undefined) return outcome.value;
      if (moved) continue;
      const late = this.clock.nextTimerMs !== undefined;
      const why = late ? 'it took over a day of virtual time' : 'nothing more can happen, but it is not done';
      throw this.#failed(new Error(why));
    }
  }

  #failed(cause: unknown): HeptadError<'SIMULATION_FAILED'> {
    const at = Math.round(this.clock.monotonicMs());
    return new HeptadError(
      'SIMULATION_FAILED',
      `simulation with seed ${this.seed} failed at ${at} ms: ${errorMessage(cause)}`,
      {
        cause,
        hint: `run it again with seed ${this.seed}: it will do exactly the same`,
        details: { seed: this.seed },
      },
    );
  }
}
