// The deterministic simulator: `@heptad/core/sim`.

export { SimDisk, type SimDiskFaults } from './disk.ts';
export { type LinkOptions, SimHost, SimNetwork } from './network.ts';
export { ProcessClock } from './process-clock.ts';
export { SeededRandom } from './seeded-random.ts';
export { type SimProcess, Simulation, type SimulationOptions } from './simulation.ts';
export { VirtualClock } from './virtual-clock.ts';
