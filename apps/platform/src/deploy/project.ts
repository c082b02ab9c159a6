// A Compose file as the API wants it: services with images built, policies and rules, labelled with the project.

import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { buildImage, type ImageStore, RegistryClient } from '@heptad/container';

import { HeptadError, type NetworkPolicySpec, type ServiceSpec, type TrafficRuleSpec } from '@heptad/core';
import { type ComposeProject, parseCompose } from '@heptad/orchestrator';

/** Label that says which project a resource came from. */
export const PROJECT_LABEL = 'heptad.io/project';

/** What `apply` sends. */
export interface ProjectManifest {
  readonly project: string;
  readonly services: readonly {
    readonly name: string;
    readonly spec: ServiceSpec;
    readonly labels: Record<string, string>;
  }[];
  readonly policies: readonly { readonly name: string; readonly spec: NetworkPolicySpec }[];
  readonly routes: readonly { readonly name: string; readonly spec: TrafficRuleSpec }[];
}

/** Reads and checks a Compose file. Nothing is built yet. */
export async function readProject(
  file: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<ComposeProject> {
  const path = resolve(file);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new HeptadError(
      'NOT_FOUND',
      `cannot read the Compose file ${path}: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
        hint: 'give its path with -f',
      },
    );
  }
  const known = Object.fromEntries(
    Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  return parseCompose(text, {
    fileName: path,
    environment: known,
    readFile: (name) => readFile(resolve(dirname(path), name), 'utf8'),
  });
}

/**
 * Builds the images of the services that have `build:` and answers the manifest. A built image's name carries its
 * digest, so that changed content is a changed spec and rolls out, and unchanged content is no change at all.
 */
export async function buildProject(
  project: ComposeProject,
  images: ImageStore,
  onProgress: (message: string) => void,
): Promise<ProjectManifest> {
  // For what Dockerfiles build on and is not here yet.
  await using registry = new RegistryClient();
  const services: { name: string; spec: ServiceSpec; labels: Record<string, string> }[] = [];
  for (const service of project.services) {
    let { spec } = service;
    if (service.build !== undefined) {
      const directory = service.build.context;
      const { main, base, ...args } = service.build.args;
      onProgress(`building image ${project.name}-${service.name} from ${directory}…`);
      const image = await buildImage({
        images,
        name: `${project.name}-${service.name}`,
        directory,
        ...(main === undefined ? {} : { main }),
        ...(base === undefined ? {} : { base }),
        args,
        pull: (reference) => registry.pull(images, reference),
        onProgress: ({ step, message, bytes }) => {
          if (step !== 'done' && bytes === undefined) onProgress(`  ${message}`);
        },
      });
      spec = { ...spec, image: `${project.name}-${service.name}@${image.digest}` };
    }
    services.push({ name: service.name, spec, labels: { ...spec.labels, [PROJECT_LABEL]: project.name } });
  }
  return { project: project.name, services, policies: project.policies, routes: project.rules };
}

/** The manifest without building: what can be checked and planned without touching the machine. */
export function manifestOf(project: ComposeProject): ProjectManifest {
  return {
    project: project.name,
    services: project.services.map(({ name, spec }) => ({
      name,
      spec,
      labels: { ...spec.labels, [PROJECT_LABEL]: project.name },
    })),
    policies: project.policies,
    routes: project.rules,
  };
}
