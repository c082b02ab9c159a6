// The files of an application directory, split into what changes rarely (dependencies) and what changes often (the app).

import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { isAbsolute, join, posix, relative, resolve } from 'node:path';
import { ContainerError, errnoOf } from '../errors.ts';
import type { LayerEntry } from '../image/layer-writer.ts';
import { IgnoreFile } from './ignore-file.ts';

/** Where the application lies in the image. */
export const APP_DIRECTORY = '/app';
/** Annotation of the layers that hold the application, so that the process runtime can find them. */
export const APP_LAYER_ANNOTATION = 'dev.heptad.layer';
const ROOT = APP_DIRECTORY.slice(1);

/** What a directory holds, as entries of layers below {@link APP_DIRECTORY}. */
export interface AppFiles {
  /** Everything in a `node_modules`. Empty for a bundled application. */
  readonly dependencies: readonly LayerEntry[];
  readonly app: readonly LayerEntry[];
  /** True when .dockerignore names `node_modules` and it was packed nevertheless. */
  readonly keptDependencies: boolean;
}

/** What is left out whatever .dockerignore says: history, and where people keep secrets that a build needs and a run must not have. */
export const DEFAULT_EXCLUDE: readonly string[] = ['.git', '.env', '.npmrc'];
/**
 * What managers and tools keep for themselves directly in a `node_modules`: times, absolute paths and caches, which would
 * make the same dependencies differ from one installation to the next, and which nothing reads at run time.
 */
const INSTALLATION_STATE =
  /^(\.modules\.yaml|\.pnpm-workspace-state.*\.json|\.yarn-integrity|\.yarn-state\.yml|\.cache)$/;
/** pnpm's programs are shell scripts of a few hundred bytes. */
const MAX_SHIM_BYTES = 64 * 1024;
/** A monorepo with all its dependencies has about 300 000 files. */
const MAX_APP_FILES = 500_000;
/** Files looked at together: more wait in libuv's thread pool anyway. */
const PARALLEL_STATS = 64;

interface Walk {
  readonly directory: string;
  readonly exclude: ReadonlySet<string>;
  readonly ignore: IgnoreFile;
  readonly hintForLink: (target: string) => string;
  readonly signal: AbortSignal | undefined;
}

/**
 * Lists the application. Throws `PATH_NOT_FOUND`, `LIMIT_EXCEEDED`, and `BUILD_FAILED` for a link that leads out of the
 * directory (`hintForLink` says what to do about it).
 */
export async function appFiles(
  directory: string,
  options: {
    exclude?: readonly string[] | undefined;
    hintForLink: (target: string) => string;
    signal?: AbortSignal | undefined;
  },
): Promise<AppFiles> {
  const ignore = IgnoreFile.parse(await readIgnoreFile(directory));
  const walk: Walk = {
    directory,
    exclude: new Set(options.exclude ?? DEFAULT_EXCLUDE),
    ignore,
    hintForLink: options.hintForLink,
    signal: options.signal,
  };
  const top: LayerEntry = { type: 'directory', path: ROOT, mode: 0o755 };
  const dependencies: LayerEntry[] = [];
  const app: LayerEntry[] = [top];
  let keptDependencies = false;
  const pending = [''];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    options.signal?.throwIfAborted();
    for (const entry of await listDirectory(walk, at)) {
      const path = entry.path.slice(ROOT.length + 1);
      const isDependency = inNodeModules(path);
      // Most projects ignore node_modules because their Dockerfile installs anew; here nothing is installed, so that
      // rule would only take away what the application needs. Rules about parts of it are followed.
      const excluded = ignore.excludes(path);
      const kept = isDependency && excluded && ignore.excludes(nodeModulesOf(path));
      keptDependencies ||= kept;
      const stays = !excluded || kept;
      if (entry.type === 'directory' && (stays || ignore.hasExceptions)) pending.push(path);
      if (stays) (isDependency ? dependencies : app).push(entry);
      if (dependencies.length + app.length > MAX_APP_FILES) {
        throw new ContainerError(
          'LIMIT_EXCEEDED',
          `cannot build: ${directory} has more than ${MAX_APP_FILES} files`,
          { hint: 'leave out what the application does not need with a .dockerignore' },
        );
      }
    }
  }
  if (dependencies.length > 0) dependencies.push(top);
  return { dependencies, app, keptDependencies };
}

/** Whether a path lies in, or is, a `node_modules`. */
function inNodeModules(path: string): boolean {
  return path.split('/').includes('node_modules');
}

/** The outermost `node_modules` a path lies in. */
function nodeModulesOf(path: string): string {
  const parts = path.split('/');
  return parts.slice(0, parts.indexOf('node_modules') + 1).join('/');
}

async function readIgnoreFile(directory: string): Promise<string> {
  try {
    return await readFile(join(directory, '.dockerignore'), 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}

async function listDirectory(walk: Walk, at: string): Promise<LayerEntry[]> {
  const names = (
    await readdir(join(walk.directory, at)).catch((cause: unknown) => {
      throw unreadable(join(walk.directory, at), cause);
    })
  ).filter((name) => !walk.exclude.has(name) && !isInstallationState(at, name));
  const entries: LayerEntry[] = [];
  for (let from = 0; from < names.length; from += PARALLEL_STATS) {
    const batch = names.slice(from, from + PARALLEL_STATS);
    entries.push(...(await Promise.all(batch.map((name) => entryOf(walk, posix.join(at, name))))));
  }
  return entries;
}

function isInstallationState(directory: string, name: string): boolean {
  return posix.basename(directory) === 'node_modules' && INSTALLATION_STATE.test(name);
}

async function entryOf(walk: Walk, path: string): Promise<LayerEntry> {
  const source = join(walk.directory, path);
  const info = await lstat(source).catch((cause: unknown) => {
    throw unreadable(source, cause);
  });
  const target = posix.join(ROOT, path);
  if (info.isDirectory()) return { type: 'directory', path: target, mode: 0o755 };
  if (info.isSymbolicLink())
    return { type: 'symlink', path: target, target: await linkInside(walk, path, source) };
  if (!info.isFile()) {
    throw new ContainerError(
      'BUILD_FAILED',
      `cannot pack ${source}: it is neither a file, a directory nor a link`,
      { hint: 'leave it out with a .dockerignore' },
    );
  }
  // Only whether it can be executed is kept of the mode: umasks differ between machines.
  const mode = (info.mode & 0o100) === 0 ? 0o644 : 0o755;
  if (posix.basename(posix.dirname(path)) === '.bin' && info.size <= MAX_SHIM_BYTES) {
    const text = await readFile(source, 'utf8');
    // pnpm writes where it installed into its scripts; in the image that is elsewhere.
    if (text.includes(walk.directory))
      return { type: 'file', path: target, mode, content: text.replaceAll(walk.directory, APP_DIRECTORY) };
  }
  return { type: 'copy', path: target, mode, source, size: info.size };
}

/** A link's target as it must be in the image: relative, and inside of the directory. */
async function linkInside(walk: Walk, path: string, source: string): Promise<string> {
  const target = await readlink(source);
  const from = join(walk.directory, posix.dirname(path));
  const leadsTo = resolve(from, target);
  const inside = relative(walk.directory, leadsTo);
  if (inside !== '..' && !inside.startsWith('../'))
    return isAbsolute(target) ? relative(from, leadsTo) || '.' : target;
  throw new ContainerError(
    'BUILD_FAILED',
    `cannot pack ${source}: it is a link to ${target}, outside of ${walk.directory}`,
    { hint: walk.hintForLink(leadsTo) },
  );
}

function unreadable(path: string, cause: unknown): unknown {
  const errno = errnoOf(cause);
  if (errno === 'ENOENT' || errno === 'ENOTDIR') {
    return new ContainerError('PATH_NOT_FOUND', `cannot build: there is no ${path}`, {
      cause,
      hint: 'give the directory of a built application',
    });
  }
  if (errno !== 'EACCES' && errno !== 'EPERM') return cause;
  return new ContainerError('BUILD_FAILED', `cannot build: ${path} may not be read`, {
    cause,
    hint: 'change its permissions, or leave it out with a .dockerignore',
  });
}
