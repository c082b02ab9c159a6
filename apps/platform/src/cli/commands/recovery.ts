// Commands for disaster recovery: centres, failover, drills.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerRecoveryCommands(program: Command): void {
  const load = () => import('../run/recovery.ts');
  const dr = program.command('dr').description('centres and failover');
  dr.command('status')
    .description('centres, roles, lag')
    .action(async (_o, command) => (await load()).drStatus(command));
  dr.command('explain')
    .description('who may be promoted, and why not')
    .action(async (_o, command) => (await load()).drExplain(command));
  dr.command('failover')
    .description(
      'make another centre primary: by plan, losing nothing, while there is a primary; by election when there is none',
    )
    .option('--to <center>', 'who takes over; default: this centre, or at the primary its best backup')
    .option('--force', 'without votes; only with two centres, and only when the other one is known to be off')
    .action(async (options, command) => (await load()).drFailover(options, command));
  dr.command('failback')
    .description("planned return to the topology's own primary")
    .action(async (_o, command) => (await load()).drFailback(command));
  dr.command('drill')
    .description(
      'rehearse a failover with three centres on this machine; prints RTO and RPO as a client measured them',
    )
    .option('--live', 'drill the running centres instead: a planned hand-over and back, under writes')
    .option('--replication <mode>', 'of a rehearsal: sync or async', 'sync')
    .option('--fault <fault>', 'of a rehearsal: kill or freeze', 'kill')
    .option('--markdown <file>', 'write the report here too')
    .action(async (options, command) => {
      if (options.live === true) return (await load()).drLiveDrill(options, command);
      return (await import('../run/drill.ts')).drill(options, command);
    });
  dr.command('center', { hidden: true }).action(async () =>
    (await import('../run/rehearsal.ts')).runCenter(),
  );
}
