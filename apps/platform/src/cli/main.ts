#!/usr/bin/env node
// `heptad`: one table of commands; each loads its code only when called, so that `heptad ps` starts fast.

import { realpathSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { Command } from 'commander';
import { registerChaosCommands } from './commands/chaos.ts';
import { registerDeployCommands } from './commands/deploy.ts';
import { registerEngineCommands } from './commands/engine.ts';
import { registerImageCommands } from './commands/image.ts';
import { registerInspectCommands } from './commands/inspect.ts';
import { registerMeshCommands } from './commands/mesh.ts';
import { registerMonitorCommands } from './commands/monitor.ts';
import { registerProcessCommands } from './commands/processes.ts';
import { registerRecoveryCommands } from './commands/recovery.ts';
import { registerSecurityCommands } from './commands/security.ts';
import { registerStorageCommands } from './commands/storage.ts';
import { exitCodeOf, sayError } from './output.ts';

/** The whole command tree. */
export function buildProgram(): Command {
  const program = new Command('heptad')
    .description('Runs services on your own Linux machines.')
    .version('0.1.0')
    .option('--json', 'print one JSON document (or one per line) instead of tables')
    .option('--server <url>', 'API server (HEPTAD_SERVER; default http://127.0.0.1:7070)')
    .option(
      '--token <token>',
      'bearer token (HEPTAD_TOKEN; default the last login, else the local administrator)',
    )
    .showHelpAfterError('(heptad --help lists the commands)')
    .configureHelp({ showGlobalOptions: true })
    .enablePositionalOptions();
  registerProcessCommands(program);
  registerDeployCommands(program);
  registerInspectCommands(program);
  registerEngineCommands(program);
  registerImageCommands(program);
  registerMeshCommands(program);
  registerStorageCommands(program);
  registerSecurityCommands(program);
  registerMonitorCommands(program);
  registerChaosCommands(program);
  registerRecoveryCommands(program);
  takeJsonAfter(program);
  return program;
}

/** `heptad ps --json` means the same as `heptad --json ps`: positional options would refuse the one people type. */
function takeJsonAfter(command: Command): void {
  for (const child of command.commands) {
    const hasOwn = child.options.some(({ long }) => long === '--json');
    if (child.commands.length === 0 && !hasOwn) child.option('--json', 'print JSON');
    takeJsonAfter(child);
  }
}

const entry = process.argv[1];
if (entry !== undefined && import.meta.url === pathToFileURL(realpathSync(entry)).href) {
  // A closed pipe (heptad logs | head) is the reader's wish, not an error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  try {
    await buildProgram().parseAsync(process.argv);
  } catch (error) {
    sayError(error);
    process.exitCode = exitCodeOf(error);
  }
}
