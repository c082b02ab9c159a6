// Contract suites, framework-free: `@heptad/core/conformance`.

export * from './container-runtime.ts';
export * from './event-bus.ts';
export * from './object-store.ts';
export * from './state-store.ts';
export { type ConformanceCase, conformanceCase, rejectsWith } from './suite.ts';
