// PromQL against scripts in promqltest notation: ours always, Prometheus' own when a copy is at hand.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runScript } from './promqltest/runner.ts';

const own = new URL('./promqltest/cases/', import.meta.url).pathname;

describe('our cases', () => {
  for (const file of readdirSync(own).sort()) {
    it(file, async () => {
      const result = await runScript(readFileSync(join(own, file), 'utf8'));
      expect(result.failed).toEqual([]);
      expect(result.unsupported).toEqual([]);
      expect(result.passed).toBeGreaterThan(0);
    });
  }
});

// The scripts are Prometheus' (Apache-2.0) and not ours to keep: point to promql/promqltest/testdata of a checkout.
const theirs = process.env.HEPTAD_PROMQLTEST_DIR ?? '';
/** Files that test what Prometheus itself turns on by flags only. */
const BEHIND_FLAGS =
  /^(duration_expression|extended_vectors|fill-modifier|info|name_label_dropping|start_timestamps|type_and_unit)/;

describe.skipIf(!existsSync(theirs))(
  'cases of Prometheus (HEPTAD_PROMQLTEST_DIR names their directory)',
  () => {
    const files = existsSync(theirs) ? readdirSync(theirs).filter((file) => !BEHIND_FLAGS.test(file)) : [];
    it.each(files)('%s', async (file) => {
      const result = await runScript(readFileSync(join(theirs, file), 'utf8'));
      // A label name that is not UTF-8 cannot be told from its replacement once the script is text.
      const failed = result.failed.filter(({ query }) => !query.includes('\\xff'));
      expect(failed).toEqual([]);
    });
  },
);
