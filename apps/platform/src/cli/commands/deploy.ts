// Commands that change what runs: apply, plan, delete, scale, rollout, wait, drain, cordon, run, quota.

import { type Command, Option } from 'commander';

/** Adds them to the program. */
export function registerDeployCommands(program: Command): void {
  const load = () => import('../run/deploy.ts');
  program
    .command('apply')
    .description('make the services of a Compose file run')
    .requiredOption('-f, --file <file>', 'Compose file')
    .option('--dry-run', 'show what would change, change nothing')
    .option('--wait', 'return only when all services are ready')
    .option('--timeout <duration>', 'for --wait', '120s')
    .action(async (options, command) => (await load()).apply(options, command));
  program
    .command('plan')
    .description('show what apply would change; exit code 2 when there are changes')
    .requiredOption('-f, --file <file>', 'Compose file')
    .action(async (options, command) => (await load()).plan(options, command));
  program
    .command('delete [service]')
    .description('remove a service, or all services of a Compose file')
    .option('-f, --file <file>', 'Compose file')
    .option('--dry-run', 'show what would be removed')
    .action(async (service, options, command) => (await load()).remove(service, options, command));
  program
    .command('scale <assignment>')
    .description('set the number of replicas: SERVICE=N')
    .option('--dry-run', 'only say what would change')
    .action(async (assignment, _options, command) => (await load()).scale(assignment, command));
  const rollout = program.command('rollout').description("a service's rollouts");
  rollout
    .command('status <service>')
    .description('how far the rollout is')
    .action(async (service, _options, command) => (await load()).rolloutStatus(service, command));
  rollout
    .command('undo <service>')
    .description('back to the version before')
    .option('--dry-run', 'only say what would change')
    .action(async (service, _options, command) => (await load()).rolloutUndo(service, command));
  rollout
    .command('history <service>')
    .description('earlier versions')
    .action(async (service, _options, command) => (await load()).rolloutHistory(service, command));
  for (const verb of ['pause', 'resume'] as const) {
    rollout
      .command(`${verb} <service>`)
      .description(
        verb === 'pause' ? 'leave replicas of the older version alone' : 'go on with a paused rollout',
      )
      .action(async (service, _options, command) => (await load()).rolloutChange(verb, service, command));
  }
  program
    .command('wait <service>')
    .description('wait until a service is ready')
    .requiredOption('--for <condition>', 'ready')
    .option('--timeout <duration>', 'give up after this long', '60s')
    .action(async (service, options, command) => (await load()).wait(service, options, command));
  for (const verb of ['drain', 'cordon', 'uncordon'] as const) {
    program
      .command(`${verb} <node>`)
      .description(
        {
          drain: 'move everything off a node',
          cordon: 'place nothing new on a node',
          uncordon: 'use a node again',
        }[verb],
      )
      .option('--dry-run', 'only say what would change')
      .action(async (node, _options, command) => (await load()).changeNode(verb, node, command));
  }
  const quota = program.command('quota').description('quotas and adaptive resources');
  quota
    .command('show')
    .description('quotas and what is used of them')
    .action(async (_options, command) => (await load()).quotaShow(command));
  quota
    .command('adjust <strategy>')
    .description('let a strategy set replicas and CPU limits')
    .option('--service <service>', 'only this service')
    .option('--dry-run', 'only say what would change')
    .action(async (strategy, options, command) => (await load()).quotaAdjust(strategy, options, command));
  program
    .command('run <image> [command...]')
    .description('run one container on this machine, outside any service')
    .option('--rm', 'remove it when it ends')
    .option('-d, --detach', 'leave it running and print its id')
    .option('-i, --interactive', 'pass standard input')
    .option('-t, --tty', 'give it a terminal: ours, when there is one')
    .option('--init', 'a small process 1 that reaps orphans')
    .option(
      '--restart <policy>',
      'no, always, unless-stopped or on-failure[:N], while an engine has its home open',
    )
    .option(
      '-e, --env <pair>',
      'NAME=VALUE (repeatable)',
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option(
      '-p, --publish <ports>',
      'HOST:CONTAINER port (repeatable)',
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option(
      '-v, --volume <mount>',
      'HOST_PATH_OR_NAME:TARGET[:ro] (repeatable)',
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option('--memory <amount>', 'memory limit, 512m')
    .option('--cpus <amount>', 'CPU limit, 0.5')
    .option('--name <name>', 'name of the container')
    .addOption(
      new Option('--pull <when>', 'fetch the image from its registry')
        .choices(['missing', 'always', 'never'])
        .default('missing'),
    )
    .passThroughOptions()
    .action(async (image, words, options) =>
      (await import('../run/run-container.ts')).runContainer(image, words, options),
    );
}
