// Contract suites, framework-free: `@heptad/core/conformance`.

export * from './state-store.ts';
export { type ConformanceCase, conformanceCase, rejectsWith } from './suite.ts';
