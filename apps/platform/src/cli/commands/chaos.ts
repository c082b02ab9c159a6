// Commands for disaster recovery and chaos experiments.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerChaosCommands(program: Command): void {
  const load = () => import('../run/chaos.ts');
  const dr = program.command('dr').description('centres and failover');
  dr.command('status')
    .description('centres, roles, lag')
    .action(async (_o, command) => (await load()).drStatus(command));
  dr.command('explain')
    .description('who may be promoted, and why not')
    .action(async (_o, command) => (await load()).drExplain(command));
  dr.command('drill')
    .description(
      'rehearse a failover with three centres on this machine; prints RTO and RPO as a client measured them',
    )
    .option('--replication <mode>', 'sync or async', 'sync')
    .option('--fault <fault>', 'kill or freeze', 'kill')
    .option('--markdown <file>', 'write the report here too')
    .action(async (options, command) => (await import('../run/drill.ts')).drill(options, command));
  dr.command('center', { hidden: true }).action(async () =>
    (await import('../run/rehearsal.ts')).runCenter(),
  );
  for (const verb of ['failover', 'failback']) {
    dr.command(verb)
      .description('(not there yet)')
      .action(async () => (await import('../run/not-yet.ts')).notYet(`dr ${verb}`));
  }
  const chaos = program.command('chaos').description('experiments that break things on purpose');
  chaos
    .command('run <file>')
    .description('run an experiment and wait for its report')
    .action(async (file, _o, command) => (await load()).run(file, command));
  chaos
    .command('abort')
    .description('remove every fault now')
    .action(async (_o, command) => (await load()).abort(command));
  chaos
    .command('report <id>')
    .description('the report of an experiment')
    .option('--html <file>', 'write the HTML report here')
    .action(async (id, options, command) => (await load()).report(id, options, command));
}
