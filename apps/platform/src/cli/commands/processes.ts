// Commands that are processes of the platform: up, down, status, doctor, server, agent, proxy, storage-node.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerProcessCommands(program: Command): void {
  program
    .command('up')
    .description('run everything on this machine: server, agent, proxy, storage; then follow events')
    .option('-f, --file <file>', 'deploy this Compose file once the platform is ready')
    .option('--centers <file>', 'be one of the centres that this file lists (HEPTAD_CENTERS)')
    .option('--center <name>', 'which of them (HEPTAD_CENTER)')
    .option('--detach', 'return once everything is ready; "heptad down" stops it')
    .action(async (options) => (await import('../run/up.ts')).up(options));
  program
    .command('down')
    .description('stop the platform of this machine and remove what it made: containers, networks, processes')
    .action(async () => (await import('../run/down.ts')).down());
  program
    .command('server')
    .description('the API server with its controllers and embedded state')
    .action(async () => (await import('../run/server.ts')).server());
  program
    .command('agent')
    .description("this node's agent: runs containers, supervises proxy and storage nodes")
    .option('--server <url>', 'API server')
    .option('--token <token>', 'node token')
    .action(async (options) => (await import('../run/agent.ts')).agent(options));
  program
    .command('proxy')
    .description("this node's mesh proxy")
    .action(async () => (await import('../run/proxy.ts')).proxy());
  program
    .command('storage-node')
    .description('one storage node')
    .requiredOption('--id <id>', 'its name in the cluster')
    .requiredOption('--port <port>', 'port to listen on', Number)
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .action(async (options) => (await import('../run/storage-node.ts')).storageNode(options));
  program
    .command('status')
    .description('is the platform well?')
    .action(async (_options, command) => (await import('../run/status.ts')).status(command));
  program
    .command('doctor')
    .description('check this machine: what works, what is missing, how to get it')
    .action(async (_options, command) => (await import('../run/doctor.ts')).doctor(command));
}
