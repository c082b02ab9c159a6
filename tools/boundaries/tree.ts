// Finds the packages of a repository and the files of each that the rules apply to.

import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { checkFile, type PackageFacts, type Violation } from './rules.ts';

/** Directories that hold nothing of ours. */
const SKIPPED: ReadonlySet<string> = new Set(['node_modules', 'dist', 'coverage', '.turbo']);
const CODE = /\.(?:[cm]?tsx?|[cm]?jsx?)$/;

interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

function readManifest(path: string): Manifest {
  // The package manager has parsed and checked it: without a valid one nothing would be installed.
  return JSON.parse(readFileSync(path, 'utf8')) as Manifest;
}

function* filesBelow(directory: string): Generator<string> {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      if (!SKIPPED.has(entry.name)) yield* filesBelow(path);
    } else if (CODE.test(entry.name)) {
      yield path;
    }
  }
}

/** What was looked at, and what was found. */
export interface Report {
  readonly packages: number;
  readonly files: number;
  readonly violations: readonly Violation[];
}

/** Checks every package of the repository at `root`. */
export function checkTree(root: string): Report {
  const shared = Object.keys(readManifest(join(root, 'package.json')).devDependencies ?? {});
  const names = readdirSync(join(root, 'packages')).sort();
  const violations: Violation[] = [];
  let files = 0;
  for (const name of names) {
    const directory = join(root, 'packages', name);
    const manifest = readManifest(join(directory, 'package.json'));
    const facts: PackageFacts = {
      directory: relative(root, directory),
      name: manifest.name,
      dependencies: new Set([
        ...Object.keys(manifest.dependencies ?? {}),
        ...Object.keys(manifest.peerDependencies ?? {}),
        ...Object.keys(manifest.optionalDependencies ?? {}),
      ]),
      devDependencies: new Set([...Object.keys(manifest.devDependencies ?? {}), ...shared]),
    };
    for (const file of filesBelow(directory)) {
      files += 1;
      violations.push(...checkFile(relative(root, file), readFileSync(file, 'utf8'), facts));
    }
  }
  return { packages: names.length, files, violations };
}
