// The npm packages that are really in an image: found among its files, not in what a lock file says there should be.

import { posix } from 'node:path';
import type { LayerEntry } from '../image/layer-writer.ts';
import type { AppFiles } from './app-files.ts';
import { type PackageManifest, readPackageManifest } from './package-manifest.ts';

/** One package at one or more places of an image. */
export interface NpmPackage {
  readonly name: string;
  readonly version: string;
  readonly manifest: PackageManifest;
  /** Its directories in the image, sorted. */
  readonly locations: readonly string[];
  /** False for a package of the application's own workspace: no registry has it. */
  readonly isPublished: boolean;
  /** `name@version` of the packages it finds when it asks for its dependencies, sorted. */
  readonly dependsOn: readonly string[];
}

/** Packages, and which of them the application itself depends on. */
export interface NpmPackages {
  readonly packages: readonly NpmPackage[];
  readonly direct: readonly string[];
}

interface Place {
  readonly directory: string;
  readonly manifest: PackageManifest;
  readonly key: string;
}

/** `node_modules/NAME/package.json` at any depth; names that start with a dot are managers' own directories. */
const PACKAGE_FILE = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/.@][^/]*)\/package\.json$/;
const PACKAGE_LINK = /\/node_modules\/(?:@[^/]+\/)?[^/.@][^/]*$/;
const PARALLEL_READS = 64;

/** Finds all packages among the files, and by Node's own rules what each depends on. */
export async function npmPackages(files: AppFiles, app: PackageManifest | undefined): Promise<NpmPackages> {
  const entries = [...files.dependencies, ...files.app];
  const links = linksOf(entries);
  const roots = packageRoots(entries, links);
  const places = await readPlaces(roots);
  const byDirectory = new Map(places.map((place) => [place.directory, place]));
  const resolvePlace = (from: string, name: string): Place | undefined => {
    for (let at = from; ; at = posix.dirname(at)) {
      const candidate = posix.join(at, 'node_modules', name);
      const place = byDirectory.get(followLinks(candidate, links));
      if (place !== undefined) return place;
      if (at === '.' || at === '/') return undefined;
    }
  };
  const dependenciesOf = (directory: string, manifest: PackageManifest | undefined): string[] => {
    const names = Object.keys({
      ...manifest?.peerDependencies,
      ...manifest?.optionalDependencies,
      ...manifest?.dependencies,
    });
    const keys = names.flatMap((name) => resolvePlace(directory, name)?.key ?? []);
    return [...new Set(keys)].sort();
  };
  const grouped = Map.groupBy(places, ({ key }) => key);
  const packages = [...grouped].map(([key, group]): NpmPackage => {
    const [first] = group;
    const dependsOn = group.flatMap((place) => dependenciesOf(place.directory, place.manifest));
    return {
      name: key.slice(0, key.lastIndexOf('@')),
      version: key.slice(key.lastIndexOf('@') + 1),
      manifest: first?.manifest ?? {},
      locations: group.map(({ directory }) => `/${directory}`).sort(),
      isPublished: group.some(({ directory }) => directory.includes('/node_modules/')),
      dependsOn: [...new Set(dependsOn)].filter((each) => each !== key).sort(),
    };
  });
  packages.sort((one, other) => (`${one.name}@${one.version}` < `${other.name}@${other.version}` ? -1 : 1));
  return { packages, direct: dependenciesOf('app', app) };
}

/** Links by their path, with the path they lead to. */
function linksOf(entries: readonly LayerEntry[]): Map<string, string> {
  const links = new Map<string, string>();
  for (const entry of entries) {
    if (entry.type === 'symlink' && PACKAGE_LINK.test(entry.path))
      links.set(entry.path, posix.join(posix.dirname(entry.path), entry.target));
  }
  return links;
}

function followLinks(path: string, links: ReadonlyMap<string, string>): string {
  // A chain longer than this is a loop: the kernel gives up after 40.
  let at = path;
  for (let hops = 0; hops < 40; hops += 1) {
    const next = links.get(at);
    if (next === undefined) break;
    at = next;
  }
  return at;
}

/** Directories of packages with the file of this machine that describes each. */
function packageRoots(
  entries: readonly LayerEntry[],
  links: ReadonlyMap<string, string>,
): Map<string, string> {
  const manifests = new Map<string, string>();
  for (const entry of entries)
    if (entry.type === 'copy' && entry.path.endsWith('/package.json'))
      manifests.set(posix.dirname(entry.path), entry.source);
  const roots = new Map<string, string>();
  for (const [directory, source] of manifests) {
    if (PACKAGE_FILE.test(`${directory}/package.json`)) roots.set(directory, source);
  }
  // Packages of the workspace lie outside of node_modules and are linked into it.
  for (const link of links.keys()) {
    const directory = followLinks(link, links);
    const source = manifests.get(directory);
    if (source !== undefined) roots.set(directory, source);
  }
  return roots;
}

async function readPlaces(roots: ReadonlyMap<string, string>): Promise<Place[]> {
  const places: Place[] = [];
  const all = [...roots].sort(([one], [other]) => (one < other ? -1 : 1));
  for (let from = 0; from < all.length; from += PARALLEL_READS) {
    const batch = all.slice(from, from + PARALLEL_READS).map(async ([directory, source]) => {
      // A package's fixtures may hold a broken package.json on purpose; what it is cannot be told then.
      const manifest = await readPackageManifest(source).catch(() => undefined);
      if (manifest?.name === undefined || manifest.version === undefined) return [];
      return [{ directory, manifest, key: `${manifest.name}@${manifest.version}` }];
    });
    places.push(...(await Promise.all(batch)).flat());
  }
  return places;
}
