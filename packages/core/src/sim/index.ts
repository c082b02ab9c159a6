// The deterministic simulator: `@heptad/core/sim`.

export * from './virtual-clock.ts';
