// What a build of a Node.js application will do, found out before anything is packed.

import { join, resolve } from 'node:path';
import { parseReference } from '../image/reference.ts';
import { type AppFiles, appFiles } from './app-files.ts';
import { type BaseImage, openBaseImage } from './base-image.ts';
import type { BuildNodeImageOptions } from './build-node-image.ts';
import { type EntryPoint, entryPoint } from './entry-point.ts';
import { detectPackageManager, linkHint } from './package-manager.ts';
import { type PackageManifest, readPackageManifest } from './package-manifest.ts';
import { sourceDateEpoch } from './source-date-epoch.ts';

/** What is known before anything is packed. */
export interface BuildPlan {
  readonly directory: string;
  readonly manifest: PackageManifest | undefined;
  readonly entry: EntryPoint;
  readonly files: AppFiles;
  readonly base: BaseImage | undefined;
  /** Seconds since 1970; undefined when nobody said so. */
  readonly epoch: number | undefined;
}

/**
 * Looks at everything and packs nothing. Throws what a build throws before it packs: `PATH_NOT_FOUND`, `INVALID_REFERENCE`,
 * `IMAGE_NOT_FOUND`, `IMAGE_NOT_TRUSTED`, `BUILD_FAILED`, `NOT_SUPPORTED`, `LIMIT_EXCEEDED`, `INVALID_ARGUMENT`.
 */
export async function makePlan(options: BuildNodeImageOptions): Promise<BuildPlan> {
  // A name that cannot be is told before anything else.
  parseReference(options.name);
  const directory = resolve(options.directory);
  const manifest = await readPackageManifest(join(directory, 'package.json'));
  const manager = await detectPackageManager(directory, manifest);
  const files = await appFiles(directory, {
    exclude: options.exclude,
    hintForLink: (target) => linkHint(manager, target),
    signal: options.signal,
  });
  const entry = await entryPoint(directory, manifest, options.main);
  const { dependencies, app } = files;
  const laidOut = manager === 'none' ? '' : ` laid out by ${manager}`;
  options.onProgress?.({
    step: 'plan',
    message:
      `${directory}: ${app.length} files and directories of the application, ${dependencies.length} of dependencies${laidOut}; ` +
      `runs ${entry.arguments.join(' ')} (${entry.because})` +
      (files.keptDependencies ? '; node_modules is packed although .dockerignore names it' : ''),
  });
  const base = options.base === undefined ? undefined : await openBase(options, options.base);
  return {
    directory,
    manifest,
    entry,
    files,
    base,
    epoch: sourceDateEpoch(options.name, options.sourceDateEpoch),
  };
}

async function openBase(options: BuildNodeImageOptions, name: string): Promise<BaseImage> {
  options.onProgress?.({ step: 'base', message: `building on ${name}` });
  return await openBaseImage(options.images, name);
}
