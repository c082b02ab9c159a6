// The whole public face of @heptad/core.

export * from './contracts/container-runtime.ts';
export * from './contracts/controller.ts';
export * from './contracts/event-bus.ts';
export * from './contracts/identity.ts';
export * from './contracts/object-store.ts';
export * from './contracts/scheduler.ts';
export * from './contracts/state-store.ts';
export * from './contracts/traffic.ts';
export * from './errors.ts';
export * from './ports/clock.ts';
export * from './ports/disk.ts';
export * from './ports/network.ts';
export * from './ports/random.ts';
export * from './resources/index.ts';
