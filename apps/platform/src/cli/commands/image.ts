// Commands for images on this machine.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerImageCommands(program: Command): void {
  const load = () => import('../run/image.ts');
  const image = program.command('image').description('images on this machine');
  image
    .command('build <directory>')
    .description('turn a built Node app directory into a reproducible OCI image')
    .requiredOption('-t, --tag <name>', 'name of the image')
    .option('--main <file>', 'script to run, relative to the directory', 'index.js')
    .action(async (directory, options, command) => (await load()).build(directory, options, command));
  image
    .command('ls')
    .description('images here')
    .action(async (_options, command) => (await load()).list(command));
  image
    .command('rm <image>')
    .description('remove an image')
    .option('--dry-run', 'only say what would go')
    .action(async (name, _options, command) => (await load()).remove(name, command));
  image
    .command('inspect <image>')
    .description('everything known of an image')
    .action(async (name, _options, command) => (await load()).inspect(name, command));
  image
    .command('prune')
    .description('remove what no image and no container uses')
    .action(async (_options, command) => (await load()).prune(command));
  for (const verb of ['pull', 'push', 'verify']) {
    image
      .command(`${verb} <image>`)
      .description('(not there yet)')
      .action(async () => (await import('../run/not-yet.ts')).notYet(`image ${verb}`));
  }
}
