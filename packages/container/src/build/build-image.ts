// Chooses how a directory becomes an image: as a Node.js application, or by its Dockerfile.

import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  type BuildDockerfileOptions,
  buildDockerfile,
  DOCKERFILE_NAMES,
  dockerfileImages,
} from './build-dockerfile.ts';
import { type BuildNodeImageOptions, type BuiltImage, buildNodeImage } from './build-node-image.ts';
import { makePlan } from './build-plan.ts';

/** Options of {@link buildImage}: those of both ways; each takes what it knows. */
export type BuildImageOptions = BuildNodeImageOptions &
  Pick<BuildDockerfileOptions, 'dockerfile' | 'args' | 'target' | 'pull'>;

/**
 * Builds the Dockerfile when one is named, or when there is one and nothing else says how: no package.json, no `main`
 * and no `base`. Else builds a Node.js application. Throws what {@link buildDockerfile} and {@link buildNodeImage} throw.
 */
export async function buildImage(options: BuildImageOptions): Promise<BuiltImage> {
  return (await choose(options)) === 'dockerfile'
    ? await buildDockerfile(options)
    : await buildNodeImage(options);
}

/**
 * Says through `onProgress` what {@link buildImage} would do, and checks what can be checked before: the files, what runs,
 * the base, the trust policy. Packs and runs nothing. Throws what a build throws by then.
 */
export async function planImage(options: BuildImageOptions): Promise<void> {
  if ((await choose(options)) === 'node') {
    await makePlan(options);
    return;
  }
  const images = await dockerfileImages(options);
  const bases = images.length === 0 ? 'nothing' : images.join(', ');
  options.onProgress?.({ step: 'plan', message: `a Dockerfile on ${bases}, to be built with buildah` });
}

async function choose(options: BuildImageOptions): Promise<'node' | 'dockerfile'> {
  if (options.dockerfile !== undefined) return 'dockerfile';
  const directory = resolve(options.directory);
  const has = async (name: string): Promise<boolean> =>
    (await stat(join(directory, name)).catch(() => undefined))?.isFile() === true;
  if (!(await Promise.all(DOCKERFILE_NAMES.map(has))).includes(true)) return 'node';
  const saysHow = options.main !== undefined || options.base !== undefined || (await has('package.json'));
  if (!saysHow) return 'dockerfile';
  options.onProgress?.({
    step: 'plan',
    message: 'building the Node.js application; its Dockerfile is built when it is named (-f)',
  });
  return 'node';
}
