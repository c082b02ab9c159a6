// Commands for images on this machine.

import { type Command, Option } from 'commander';

/** Adds them to the program. */
export function registerImageCommands(program: Command): void {
  const load = () => import('../run/image.ts');
  const image = program.command('image').description('images on this machine');
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
  registerArchiveCommands(image);
  registerTransferCommands(image);
  registerBuildCommands(image);
  registerTrustCommands(image);
}

function registerArchiveCommands(image: Command): void {
  const run = () => import('../run/image-archive.ts');
  image
    .command('tag <image> <name>')
    .description('give an image a second name')
    .option('--dry-run', 'only say what would be named')
    .action(async (source, name, _options, command) => (await run()).tag(source, name, command));
  image
    .command('untag <name>')
    .description('take a name away; the same as rm')
    .option('--dry-run', 'only say what would go')
    .action(async (name, _options, command) => (await import('../run/image.ts')).remove(name, command));
  image
    .command('history <image>')
    .description('the steps an image was built in, the newest first')
    .action(async (name, _options, command) => (await run()).history(name, command));
  image
    .command('save <images...>')
    .description('write images to an archive that docker, podman and skopeo read')
    .option('-o, --output <file>', 'a file (default standard output)')
    .action(async (names, options, command) => (await run()).save(names, options, command));
  image
    .command('load [file]')
    .description('read images from an OCI layout or docker archive (default standard input)')
    .action(async (file, _options, command) => (await run()).load(file, command));
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
    .option('--referrers', 'fetch what is attached too: signatures, SBOMs')
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

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

function registerBuildCommands(image: Command): void {
  const load = () => import('../run/image-build.ts');
  image
    .command('build <directory>')
    .description('turn a Node app directory, or a Dockerfile, into a reproducible OCI image')
    .requiredOption('-t, --tag <name>', 'name of the image')
    .option('--main <file>', 'script to run, relative to the directory (default: what package.json says)')
    .option('--base <image>', "image to build on (default: this machine's Node goes into the image)")
    .option('--user <user>', 'user[:group] it runs as (default: node, or that of the base)')
    .option('-f, --file <file>', 'build this Dockerfile, with buildah')
    .option('--target <stage>', 'stage of the Dockerfile to build')
    .option('--build-arg <key=value>', 'value of an ARG of the Dockerfile', collect, [])
    .option('--label <key=value>', 'label of the image', collect, [])
    .option('--no-sbom', 'attach no bill of materials')
    .option('--dry-run', 'only say what would be built')
    .action(async (directory, options, command) => (await load()).build(directory, options, command));
  image
    .command('sbom <image>')
    .description('what is in an image; with --json the CycloneDX document')
    .action(async (name, _options, command) => (await load()).sbom(name, command));
}

function registerTrustCommands(image: Command): void {
  const load = () => import('../run/image-trust.ts');
  image
    .command('keygen')
    .description("make a key pair to sign images with, in cosign's format; COSIGN_PASSWORD has the password")
    .option('--output <prefix>', 'writes PREFIX.key and PREFIX.pub', 'cosign')
    .option('--dry-run', 'only say what would be written')
    .action(async (options, command) => (await load()).keygen(options, command));
  image
    .command('sign <image>')
    .description('sign an image on this machine; push takes the signature along')
    .requiredOption('--key <file>', 'private key')
    .option('-a, --annotation <key=value>', 'further statement to sign', collect, [])
    .option('--repository <name>', 'the repository it will be pulled from (default: that of its name)')
    .option('--expires <duration>', 'from then on the signature counts no more, such as 720h')
    .addOption(
      new Option('--layout <layout>', 'where cosign finds it')
        .choices(['tag', 'referrer', 'both'])
        .default('both'),
    )
    .option('--dry-run', 'only say what would be signed')
    .action(async (name, options, command) => (await load()).sign(name, options, command));
  image
    .command('verify <image>')
    .description('check the signatures of an image on this machine against keys, or against the trust policy')
    .option('--key <file>', 'public key; several may be given', collect, [])
    .option('-a, --annotation <key=value>', 'statement that must be signed', collect, [])
    .action(async (name, options, command) => (await load()).verify(name, options, command));
}
