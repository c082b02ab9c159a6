// What a conformance suite is: named cases that any test runner can run against any implementation.

import assert from 'node:assert/strict';
import { isHeptadError } from '../errors.ts';

/** One sentence of a contract, made executable. Rejects when the implementation breaks it. */
export interface ConformanceCase<Harness> {
  /** The sentence. */
  readonly name: string;
  /** Runs it against a fresh implementation, which is disposed of afterwards. */
  run(factory: () => Promise<Harness>): Promise<void>;
}

/** A case that makes its harness, runs, and disposes of it whatever happens. */
export function conformanceCase<Harness extends AsyncDisposable>(
  name: string,
  body: (harness: Harness) => Promise<void>,
): ConformanceCase<Harness> {
  return {
    name,
    run: async (factory) => {
      await using harness = await factory();
      await body(harness);
    },
  };
}

/** Asserts that `run` rejects with the code, and answers the error for a closer look. */
export async function rejectsWith(
  code: string,
  run: () => Promise<unknown>,
): Promise<{ message: string; details: Readonly<Record<string, unknown>> }> {
  let outcome: unknown;
  try {
    outcome = await run();
  } catch (error) {
    assert.ok(isHeptadError(error), `expected a HeptadError ${code}, got ${String(error)}`);
    assert.equal(error.code, code, `expected ${code}, got ${error.code}: ${error.message}`);
    return error;
  }
  assert.fail(`expected ${code}, but it resolved with ${JSON.stringify(outcome)}`);
}
