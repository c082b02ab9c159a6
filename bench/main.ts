// pnpm bench NAME [--json FILE] [--quick]: runs one benchmark of bench/src and prints its table.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Benchmark, formatReport, report, writeReport } from './src/harness.ts';

const directory = join(import.meta.dirname, 'src');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, quick: { type: 'boolean', default: false } },
});
const names = (await readdir(directory))
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
  .map((file) => file.slice(0, -'.ts'.length))
  .filter((name) => name !== 'harness');
const [name] = positionals;

if (name === undefined || !names.includes(name)) {
  console.error(`usage: pnpm bench NAME [--json FILE] [--quick]\nNAME is one of: ${names.sort().join(', ')}`);
  process.exitCode = name === undefined ? 0 : 1;
} else {
  const { benchmark }: { benchmark: Benchmark } = await import(join(directory, `${name}.ts`));
  const say = (message: string): void => console.error(message);
  const whole = report(name, await benchmark.run({ quick: values.quick, say }));
  console.log(formatReport(whole));
  if (values.json !== undefined) await writeReport(values.json, whole);
}
