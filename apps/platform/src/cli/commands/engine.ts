// Commands for the container engine of this machine by itself, without the platform.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerEngineCommands(program: Command): void {
  const engine = program.command('engine').description('the container engine of this machine by itself');
  engine
    .command('serve')
    .description(
      'speak the Docker Engine API, so that docker, Compose and testcontainers work on this engine',
    )
    .option('--docker-socket <path>', 'Unix socket to listen on (HEPTAD_DOCKER_SOCKET)')
    .option(
      '--group <name>',
      'group that may use the socket, too (HEPTAD_DOCKER_GROUP); default its owner only',
    )
    .option('--tcp <host:port>', 'listen on TCP, too; needs the three certificates below')
    .option('--tls-cert <file>', 'certificate of this server, PEM')
    .option('--tls-key <file>', 'its private key, PEM')
    .option('--tls-ca <file>', 'authority whose client certificates are let in, PEM')
    .option(
      '--engine-home <directory>',
      'where its containers and volumes live; default engine/docker in HEPTAD_HOME',
    )
    .option('--bridge <name>', 'Linux bridge of its containers', 'heptad-docker0')
    .option('--subnet <cidr>', 'addresses of its containers', '10.86.0.0/16')
    .action(async (options) => (await import('../run/engine.ts')).serve(options));
}
