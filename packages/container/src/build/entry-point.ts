// What an image of a Node.js application runs: what is asked for, else what package.json says, else the usual names.

import { stat } from 'node:fs/promises';
import { join, posix, relative, resolve } from 'node:path';
import { ContainerError } from '../errors.ts';
import { APP_DIRECTORY } from './app-files.ts';
import { type PackageManifest, readPackageManifest } from './package-manifest.ts';

/** A command for an image. */
export interface EntryPoint {
  /** `node`: Node runs the arguments, and gets signals itself. `shell`: /bin/sh runs one script. */
  readonly kind: 'node' | 'shell';
  /** Arguments of Node, the script with its path in the image; or the one shell script. */
  readonly arguments: readonly string[];
  /** Variables that the start script sets before its command. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where this comes from, for people. */
  readonly because: string;
}

const USUAL_NAMES = ['index', 'server', 'main'].flatMap((name) => [
  `${name}.js`,
  `${name}.mjs`,
  `${name}.cjs`,
]);
const SUFFIXES = ['', '.js', '.mjs', '.cjs', '/index.js', '/index.mjs', '/index.cjs'];
/** Options of Node whose value is the next word. */
const TAKES_VALUE = new Set([
  '-r',
  '--require',
  '--import',
  '--loader',
  '--experimental-loader',
  '-C',
  '--conditions',
]);
/** Words with any of these need a shell. */
const NEEDS_SHELL = /[&|;<>$`(){}*?~#\\\n!]/;

/**
 * Finds what to run. The order: `main` (given), the start script, `bin` when there is just one, `main` of package.json,
 * then index, server and main with .js, .mjs or .cjs. Throws `PATH_NOT_FOUND` when that is not a file of the directory.
 */
export async function entryPoint(
  directory: string,
  manifest: PackageManifest | undefined,
  main: string | undefined,
): Promise<EntryPoint> {
  if (main !== undefined) return await nodeEntry(directory, [], main, [], {}, 'what was asked for');
  const start = manifest?.scripts?.start;
  if (start !== undefined) return await fromStartScript(directory, manifest ?? {}, start);
  const bins = typeof manifest?.bin === 'string' ? [manifest.bin] : Object.values(manifest?.bin ?? {});
  if (bins.length === 1 && bins[0] !== undefined)
    return await nodeEntry(directory, [], bins[0], [], {}, '"bin" of package.json');
  if (manifest?.main !== undefined)
    return await nodeEntry(directory, [], manifest.main, [], {}, '"main" of package.json');
  for (const name of USUAL_NAMES) {
    if ((await findFile(directory, name)) === name)
      return await nodeEntry(directory, [], name, [], {}, 'the usual name');
  }
  throw new ContainerError('PATH_NOT_FOUND', `cannot build ${directory}: nothing says what to run`, {
    hint: `give the script to run as "main", or a start script in package.json; looked for ${USUAL_NAMES.join(', ')}`,
  });
}

async function fromStartScript(
  directory: string,
  manifest: PackageManifest,
  script: string,
): Promise<EntryPoint> {
  const because = 'the start script of package.json';
  const shell: EntryPoint = { kind: 'shell', arguments: [script], environment: {}, because };
  const words = splitWords(script);
  if (words === undefined) return shell;
  const environment: Record<string, string> = {};
  let first = words.shift();
  for (; first !== undefined && /^[A-Za-z_]\w*=/.test(first); first = words.shift()) {
    const equals = first.indexOf('=');
    environment[first.slice(0, equals)] = first.slice(equals + 1);
  }
  if (first === undefined) return shell;
  if (first !== 'node') {
    const program = await packageProgram(directory, manifest, first);
    if (program === undefined) return shell;
    return await nodeEntry(directory, [], program, words, environment, because);
  }
  const flags: string[] = [];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (!word.startsWith('-')) return await nodeEntry(directory, flags, word, words, environment, because);
    flags.push(word);
    const value = TAKES_VALUE.has(word) ? words.shift() : undefined;
    if (value !== undefined) flags.push(value);
  }
  return { kind: 'node', arguments: flags, environment, because };
}

async function nodeEntry(
  directory: string,
  flags: readonly string[],
  file: string,
  rest: readonly string[],
  environment: Readonly<Record<string, string>>,
  because: string,
): Promise<EntryPoint> {
  const found = await findFile(directory, file);
  if (found === undefined) {
    throw new ContainerError(
      'PATH_NOT_FOUND',
      `cannot build: ${file} (${because}) is not a file in ${directory}`,
      { hint: 'build the application first, and give "main" relative to the directory' },
    );
  }
  const script = posix.join(APP_DIRECTORY, found);
  return { kind: 'node', arguments: [...flags, script, ...rest], environment, because };
}

/** The file that Node would run for `name`, relative to the directory; undefined when it is not in there. */
async function findFile(directory: string, name: string): Promise<string | undefined> {
  for (const suffix of SUFFIXES) {
    const path = relative(directory, resolve(directory, `${name}${suffix}`));
    if (path === '' || path === '..' || path.startsWith('../')) continue;
    if ((await stat(join(directory, path)).catch(() => undefined))?.isFile() === true) return path;
  }
  return undefined;
}

/** The script behind a command that one of the application's packages brings, in any manager's layout. */
async function packageProgram(
  directory: string,
  manifest: PackageManifest,
  command: string,
): Promise<string | undefined> {
  const names = Object.keys({
    ...manifest.devDependencies,
    ...manifest.optionalDependencies,
    ...manifest.dependencies,
  });
  for (const name of names) {
    const packageDirectory = posix.join('node_modules', name);
    const { bin } = (await readPackageManifest(join(directory, packageDirectory, 'package.json'))) ?? {};
    if (bin === undefined) continue;
    const file =
      typeof bin === 'string' ? (posix.basename(name) === command ? bin : undefined) : bin[command];
    if (file !== undefined) return posix.join(packageDirectory, file);
  }
  return undefined;
}

/** Words of a command line without anything a shell must do; undefined when there is something. */
function splitWords(script: string): string[] | undefined {
  if (NEEDS_SHELL.test(script)) return undefined;
  const words = script.match(/(?:[^\s"']|"[^"]*"|'[^']*')+/g) ?? [];
  const unquoted = words.map((word) => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
  return /["']/.test(unquoted.join('')) ? undefined : unquoted;
}
