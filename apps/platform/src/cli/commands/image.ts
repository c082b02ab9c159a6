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
  registerTransferCommands(image);
  image
    .command('verify <image>')
    .description('(not there yet)')
    .action(async () => (await import('../run/not-yet.ts')).notYet('image verify'));
}

function registerTransferCommands(image: Command): void {
  const load = () => import('../run/image-transfer.ts');
  image
    .command('pull <image>')
    .description('fetch an image from its registry; docker login keeps the credentials')
    .option('--platform <platform>', "os/architecture[/variant], or all (default this machine's)")
    .option('--plain-http', 'allow HTTP without encryption to a host that is not this machine')
    .option('--ca <file>', "PEM certificate of the registry's authority")
    .option('--no-unpack', 'do not extract the layers now')
    .option('--dry-run', 'only say what the name leads to')
    .action(async (name, options, command) => (await load()).pull(name, options, command));
  image
    .command('push <image>')
    .description('send an image to the registry that its name begins with')
    .option('--as <name>', 'under another name, perhaps to another registry')
    .option('--platform <platform>', 'of an image for several, send only this one')
    .option('--plain-http', 'allow HTTP without encryption to a host that is not this machine')
    .option('--ca <file>', "PEM certificate of the registry's authority")
    .option('--dry-run', 'only say what would be sent')
    .action(async (name, options, command) => (await load()).push(name, options, command));
}
