// Commands for chaos experiments.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerChaosCommands(program: Command): void {
  const load = () => import('../run/chaos.ts');
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
