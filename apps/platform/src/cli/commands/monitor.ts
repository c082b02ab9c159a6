// Commands that query what was measured.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerMonitorCommands(program: Command): void {
  const load = () => import('../run/monitor.ts');
  const monitor = program.command('monitor').description('metrics, logs and traces');
  monitor
    .command('query <expr>')
    .description('a PromQL expression, now')
    .action(async (expr, _o, command) => (await load()).query(expr, command));
  monitor
    .command('logs <search>')
    .description('search the logs: "level:error service:orders timeout"')
    .option('--limit <n>', 'how many', Number, 100)
    .action(async (search, options, command) => (await load()).logs(search, options, command));
  monitor
    .command('trace <id>')
    .description('a trace with its logs and metrics')
    .action(async (id, _o, command) => (await load()).trace(id, command));
  monitor
    .command('alerts')
    .description('alert rules and their state')
    .action(async (_o, command) => (await load()).alerts(command));
  monitor
    .command('anomalies')
    .description('services that behave unlike before')
    .action(async (_o, command) => (await load()).anomalies(command));
}
