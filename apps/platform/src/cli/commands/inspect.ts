// Commands that look: ps, services, nodes, containers, events, logs, exec.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerInspectCommands(program: Command): void {
  const load = () => import('../run/inspect.ts');
  program
    .command('ps [service]')
    .description('replicas: where they run and how they are')
    .action(async (service, _options, command) => (await load()).ps(service, command));
  program
    .command('services')
    .description('services and their replicas')
    .option('--all', "the platform's own services too")
    .action(async (options, command) => (await load()).services(options, command));
  program
    .command('nodes')
    .description('machines, what they offer and what is used')
    .action(async (_options, command) => (await load()).nodes(command));
  program
    .command('containers [name]')
    .description('containers with address and restarts; or everything the runtime knows of one')
    .action(async (name, _options, command) => (await load()).containers(name, command));
  program
    .command('events')
    .description('what the platform did, and why')
    .option('-f, --follow', 'go on')
    .action(async (options, command) => (await load()).events(options, command));
  program
    .command('logs <service>')
    .description("a service's output, all replicas")
    .option('-f, --follow', 'go on')
    .option('--since <duration>', 'only the last, 5m')
    .option('--tail <lines>', 'only the last lines of each replica', Number)
    .action(async (service, options, command) => (await load()).logs(service, options, command));
  program
    .command('exec <service> [words...]')
    .description('run a program inside a replica: heptad exec -it SERVICE -- CMD')
    .option('-i, --interactive', 'pass standard input')
    .option('-t, --tty', 'give it a terminal: ours, when there is one')
    .option('--container <name>', 'this replica instead of the first')
    .passThroughOptions()
    .action(async (service, words, options, command) =>
      (await load()).exec(service, words, options, command),
    );
}
