// What a plain process is to run: settled once when its container is created, and kept for every start.

import { mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import type { Clock, ContainerSpec } from '@heptad/core';
import { z } from 'zod';
import { APP_DIRECTORY } from '../build/app-files.ts';
import { ContainerError } from '../errors.ts';
import type { ImageStore } from '../image/image-store.ts';
import type { ImageConfig } from '../image/manifest.ts';
import type { PreparedContainer } from '../lifecycle/driver.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { settledOf } from '../lifecycle/settle.ts';
import { commandLine, environmentOf } from '../oci/generate-spec.ts';
import { TOOL_PATH } from '../system/command.ts';
import { readJson } from '../system/files.ts';
import { type AppDirectory, appDirectory } from './app-directory.ts';
import { MARK } from './members.ts';
import { type PathMapping, specMappings, translate, translateCommand } from './translate.ts';

/** What plans are made from. */
export interface PlanOptions {
  readonly home: string;
  readonly images: ImageStore;
  readonly volumes: string;
  readonly nodeBinary: string;
  readonly clock: Clock;
}

/** The content of `plan.json`. Holds the values of secret variables, so only its owner may read it. */
export interface Plan {
  readonly command: string[];
  readonly environment: Record<string, string>;
  readonly workingDirectory: string;
  readonly mappings: PathMapping[];
}

const schema = z.object({
  command: z.array(z.string()).min(1),
  environment: z.record(z.string(), z.string()),
  workingDirectory: z.string(),
  mappings: z.array(z.object({ target: z.string(), source: z.string() })),
});

/** Settles what a container runs and lays out its mounts and secrets. Throws `IMAGE_NOT_FOUND`, `PATH_NOT_FOUND`. */
export async function makePlan(
  options: PlanOptions,
  record: ContainerRecord,
  spec: ContainerSpec,
  address: string,
): Promise<{ imageDigest: string | undefined } & Omit<PreparedContainer, 'imageDigest'>> {
  const directory = containerDirectory(options.home, record);
  const image = await imageOf(options, spec);
  const mappings = [...image.mappings, ...specMappings(spec, directory, options.volumes)];
  await makeMounts(options, spec, directory);
  const plan: Plan = {
    command: translateCommand(commandLine(spec, image.config), mappings, options.nodeBinary),
    environment: environmentFor(options, record, spec, image.config, address, mappings),
    workingDirectory: translate(
      spec.workingDirectory ?? image.config.WorkingDir ?? image.directory,
      mappings,
    ),
    mappings,
  };
  await writeFile(join(directory, 'plan.json'), JSON.stringify(plan), { mode: 0o600 });
  const environment = Object.entries(plan.environment).map(([name, value]) => `${name}=${value}`);
  return {
    ...settledOf(spec, image.config, {
      command: commandLine(spec, image.config),
      environment,
      workingDirectory: plan.workingDirectory,
    }),
    imageDigest: image.digest,
    stopSignal: spec.stopSignal ?? image.config.StopSignal ?? 'SIGTERM',
  };
}

/** Reads the plan of a container. Throws `STORE_CORRUPT`. */
export async function readPlan(home: string, record: ContainerRecord): Promise<Plan> {
  const path = join(containerDirectory(home, record), 'plan.json');
  const parsed = schema.safeParse(await readJson(path));
  if (parsed.success) return parsed.data;
  throw new ContainerError('STORE_CORRUPT', `cannot use ${path}: ${z.prettifyError(parsed.error)}`);
}

function containerDirectory(home: string, record: ContainerRecord): string {
  return join(home, 'containers', record.id);
}

async function imageOf(options: PlanOptions, spec: ContainerSpec): Promise<AppDirectory> {
  const { images, home } = options;
  if (!isAbsolute(spec.image))
    return await appDirectory(images, home, await images.requireTrusted(spec.image));
  const info = await stat(spec.image).catch(() => undefined);
  if (info?.isDirectory() !== true) {
    throw new ContainerError(
      'IMAGE_NOT_FOUND',
      `cannot create container "${spec.name}": ${spec.image} is not a directory`,
    );
  }
  return {
    directory: spec.image,
    config: {},
    mappings: [{ target: APP_DIRECTORY, source: spec.image }],
    digest: undefined,
  };
}

function environmentFor(
  options: PlanOptions,
  record: ContainerRecord,
  spec: ContainerSpec,
  image: ImageConfig['config'],
  address: string,
  mappings: readonly PathMapping[],
): Record<string, string> {
  const defaults = {
    HOME: containerDirectory(options.home, record),
    HOSTNAME: spec.hostname ?? record.id.slice(0, 12),
  };
  const pairs = environmentOf(spec, image, defaults).map((line): [string, string] => {
    const equals = line.indexOf('=');
    return [line.slice(0, equals), translate(line.slice(equals + 1), mappings)];
  });
  return {
    ...Object.fromEntries(pairs),
    // The programs are this machine's, so the search path is too.
    PATH: spec.environment?.PATH ?? `${dirname(options.nodeBinary)}:${TOOL_PATH}`,
    HOST: spec.environment?.HOST ?? address,
    [MARK]: record.id,
  };
}

async function makeMounts(options: PlanOptions, spec: ContainerSpec, directory: string): Promise<void> {
  for (const { source, target } of specMappings(spec, directory, options.volumes)) {
    const mount = spec.mounts?.find((each) => each.target === target);
    if (mount?.type === 'bind') {
      await stat(source).catch((cause: unknown) => {
        throw new ContainerError(
          'PATH_NOT_FOUND',
          `cannot create container "${spec.name}": ${source}, to be mounted into it, does not exist`,
          { cause },
        );
      });
    } else if (mount !== undefined) {
      await mkdir(source, { recursive: true, mode: 0o700 });
    }
  }
  if ((spec.secrets?.length ?? 0) > 0) await mkdir(join(directory, 'secrets'), { mode: 0o700 });
  for (const [index, secret] of (spec.secrets ?? []).entries()) {
    await writeFile(join(directory, 'secrets', String(index)), secret.content, {
      mode: secret.mode ?? 0o400,
    });
  }
}
