// Chooses how a directory becomes an image: as a Node.js application, or by its Dockerfile.

import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type BuildDockerfileOptions, buildDockerfile, DOCKERFILE_NAMES } from './build-dockerfile.ts';
import { type BuildNodeImageOptions, type BuiltImage, buildNodeImage } from './build-node-image.ts';

/** Options of {@link buildImage}: those of both ways; each takes what it knows. */
export type BuildImageOptions = BuildNodeImageOptions &
  Pick<BuildDockerfileOptions, 'dockerfile' | 'args' | 'target' | 'pull'>;

/**
 * Builds the Dockerfile when one is named, or when there is one and nothing else says how: no package.json, no `main`
 * and no `base`. Else builds a Node.js application. Throws what {@link buildDockerfile} and {@link buildNodeImage} throw.
 */
export async function buildImage(options: BuildImageOptions): Promise<BuiltImage> {
  const directory = resolve(options.directory);
  const has = async (name: string): Promise<boolean> =>
    (await stat(join(directory, name)).catch(() => undefined))?.isFile() === true;
  if (options.dockerfile !== undefined) return await buildDockerfile(options);
  const found = (await Promise.all(DOCKERFILE_NAMES.map(has))).includes(true);
  if (found && options.main === undefined && options.base === undefined && !(await has('package.json')))
    return await buildDockerfile(options);
  if (found) {
    options.onProgress?.({
      step: 'plan',
      message: 'building the Node.js application; its Dockerfile is built when it is named (-f)',
    });
  }
  return await buildNodeImage(options);
}
