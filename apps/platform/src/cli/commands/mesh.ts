// Commands for the mesh.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerMeshCommands(program: Command): void {
  const load = () => import('../run/mesh.ts');
  const mesh = program.command('mesh').description('traffic between services');
  mesh
    .command('services')
    .description('virtual addresses and ports')
    .action(async (_o, command) => (await load()).meshServices(command));
  mesh
    .command('endpoints')
    .description('what serves each service')
    .action(async (_o, command) => (await load()).endpoints(command));
  mesh
    .command('routes')
    .description('traffic rules')
    .action(async (_o, command) => (await load()).routes(command));
  mesh
    .command('policies')
    .description('network policies')
    .action(async (_o, command) => (await load()).policies(command));
  mesh
    .command('call <service> <path>')
    .description('GET a path of a service through the mesh client')
    .option('-X, --method <method>', 'HTTP method', 'GET')
    .option('-d, --data <body>', 'request body')
    .action(async (service, path, options, command) => (await load()).call(service, path, options, command));
}
