// Three real centre processes on loopback, a writer, a real fault, and what it cost: RTO and RPO from the client's side.
// Run: node --conditions=heptad-source packages/dr/tools/drill.ts [--replication sync|async] [--fault kill|freeze|switchover]
//      [--timings default|fast] [--json FILE] [--markdown FILE]

import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { renderDrillMarkdown, runDrill } from '@heptad/dr';
import { Cluster, TIMINGS } from '../test/support/cluster.ts';

const { values } = parseArgs({
  options: {
    replication: { type: 'string', default: 'sync' },
    fault: { type: 'string', default: 'kill' },
    timings: { type: 'string', default: 'default' },
    json: { type: 'string' },
    markdown: { type: 'string' },
  },
});
const replication = values.replication === 'async' ? 'async' : 'sync';
await using cluster = await Cluster.start({
  replication,
  timings: values.timings === 'fast' ? TIMINGS : {},
});
const primary = await cluster.primary();
await cluster.until('every backup has a copy', async () =>
  (await cluster.status(primary)).backups.every(({ state }) => state === 'streaming'),
);
const report = await runDrill({
  client: cluster.client,
  replication,
  onProgress: (message) => process.stderr.write(`${message}\n`),
  fault: async () => {
    if (values.fault === 'switchover') {
      await cluster.switchover(primary, 'west');
      return `planned switchover from ${primary} to west`;
    }
    if (values.fault === 'freeze') {
      cluster.signal(primary, 'SIGSTOP');
      return `SIGSTOP of ${primary}`;
    }
    await cluster.kill(primary);
    return `kill -9 of ${primary}`;
  },
});
if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`);
if (values.markdown !== undefined) await writeFile(values.markdown, renderDrillMarkdown(report));
process.stdout.write(renderDrillMarkdown(report));
