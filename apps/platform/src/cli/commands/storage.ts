// Commands for objects and storage nodes.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerStorageCommands(program: Command): void {
  const load = () => import('../run/storage.ts');
  const storage = program.command('storage').description('replicated objects');
  storage
    .command('nodes')
    .description('storage nodes')
    .action(async (_o, command) => (await load()).nodes(command));
  storage
    .command('status')
    .description('the cluster: room, replicas, partitions')
    .action(async (_o, command) => (await load()).status(command));
  storage
    .command('put <object> [file]')
    .description('store a file (or standard input) as BUCKET/KEY')
    .option('--dry-run', 'only say what would be stored')
    .action(async (object, file, _o, command) => (await load()).put(object, file, command));
  storage
    .command('get <object> [file]')
    .description('fetch BUCKET/KEY into a file or to standard output')
    .action(async (object, file, _o, command) => (await load()).get(object, file, command));
  storage
    .command('ls <bucket>')
    .description('objects of a bucket')
    .option('--prefix <prefix>', 'only keys that begin so')
    .action(async (bucket, options, command) => (await load()).list(bucket, options, command));
  storage
    .command('rm <object>')
    .description('delete BUCKET/KEY')
    .option('--dry-run', 'only say what would go')
    .action(async (object, _o, command) => (await load()).remove(object, command));
  storage
    .command('repair')
    .description('compare all replicas and mend differences')
    .action(async (_o, command) => (await load()).repair(command));
}
