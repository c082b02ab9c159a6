// Which package manager laid out an application's node_modules, and what to do when the layout cannot be packed.

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerError } from '../errors.ts';
import type { PackageManifest } from './package-manifest.ts';

/** How an application's dependencies lie on disk. */
export type PackageManager = 'pnpm' | 'npm' | 'yarn' | 'none';

// What each leaves in node_modules comes first: it says what is installed, a lock file only what could be.
const TRACES: readonly [path: string, manager: PackageManager][] = [
  ['node_modules/.pnpm', 'pnpm'],
  ['node_modules/.modules.yaml', 'pnpm'],
  ['node_modules/.package-lock.json', 'npm'],
  ['node_modules/.yarn-integrity', 'yarn'],
  ['node_modules/.yarn-state.yml', 'yarn'],
  ['pnpm-lock.yaml', 'pnpm'],
  ['package-lock.json', 'npm'],
  ['npm-shrinkwrap.json', 'npm'],
  ['yarn.lock', 'yarn'],
];

const LINK_HINTS: Readonly<Record<PackageManager, string>> = {
  pnpm: 'make a self-contained directory with "pnpm --filter NAME deploy --prod DIRECTORY" and build that, or bundle the application',
  npm: 'install with "npm install --install-links", so that local packages are copied, or bundle the application',
  yarn: 'run "yarn workspaces focus --production" in a copy of the workspace, or bundle the application',
  none: 'copy what the link leads to into the directory, or leave it out with a .dockerignore',
};

/** What to do about a link that leads out of the directory to `target`, by who made it. */
export function linkHint(manager: PackageManager, target: string): string {
  // A member of a workspace has no traces of its own: they lie at the workspace's root, where the link leads.
  return LINK_HINTS[target.includes('/node_modules/.pnpm/') ? 'pnpm' : manager];
}

/** Finds it out. Throws `NOT_SUPPORTED` for Yarn's Plug'n'Play, where there is no node_modules to pack. */
export async function detectPackageManager(
  directory: string,
  manifest: PackageManifest | undefined,
): Promise<PackageManager> {
  const has = async (path: string): Promise<boolean> =>
    (await stat(join(directory, path)).catch(() => undefined)) !== undefined;
  if ((await has('.pnp.cjs')) && !(await has('node_modules'))) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot build ${directory}: its dependencies are installed with Yarn's Plug'n'Play`,
      { hint: 'set "nodeLinker: node-modules" in .yarnrc.yml and install again, or bundle the application' },
    );
  }
  for (const [path, manager] of TRACES) if (await has(path)) return manager;
  const named = /^(pnpm|npm|yarn)@/.exec(manifest?.packageManager ?? '')?.[1];
  return named === 'pnpm' || named === 'npm' || named === 'yarn' ? named : 'none';
}
