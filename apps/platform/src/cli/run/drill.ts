// `heptad dr drill`: what a failover costs, rehearsed with real processes on this machine and measured by a client.

import { writeFile } from 'node:fs/promises';
import { HeptadError, invalidArgument } from '@heptad/core';
import { renderDrillMarkdown, runDrill } from '@heptad/dr';
import type { Command } from 'commander';
import { EXIT, printJson, say } from '../output.ts';
import { Rehearsal } from './rehearsal.ts';

/** Flags of the command. */
interface DrillFlags {
  readonly replication: string;
  readonly fault: string;
  readonly markdown?: string;
}

/** Runs a drill; exit code 1 when nothing could be written again, or when synchronous replication lost a write. */
export async function drill(flags: DrillFlags, command: Command): Promise<void> {
  const { replication, fault } = flags;
  if (replication !== 'sync' && replication !== 'async')
    throw invalidArgument(`replication "${replication}" is not known`, 'sync or async');
  if (fault !== 'kill' && fault !== 'freeze')
    throw invalidArgument(`fault "${fault}" is not known`, 'kill or freeze');
  say(`starting three centres on this machine, ${replication}hronous replication…`);
  await using rehearsal = await Rehearsal.start(replication);
  const report = await runDrill({
    client: rehearsal.client,
    replication,
    onProgress: say,
    fault: async () => {
      const primary = await rehearsal.primary();
      if (primary === undefined) throw new HeptadError('UNAVAILABLE', 'there is no primary to fail');
      await rehearsal.signal(primary, fault === 'kill' ? 'SIGKILL' : 'SIGSTOP');
      return fault === 'kill'
        ? `kill -9 of the primary, ${primary}`
        : `the primary, ${primary}, frozen with SIGSTOP`;
    },
  });
  if (flags.markdown !== undefined) await writeFile(flags.markdown, renderDrillMarkdown(report));
  if (command.optsWithGlobals().json) printJson(report);
  else process.stdout.write(renderDrillMarkdown(report));
  if (report.rtoMs === null || (replication === 'sync' && report.rpoOps > 0)) process.exitCode = EXIT.error;
}
