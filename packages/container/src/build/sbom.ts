// The bill of materials of an image: CycloneDX 1.6, the same bytes for the same image.

import { createHash } from 'node:crypto';
import { type Digest, digestHex } from '../image/digest.ts';
import { licensesOf } from './licenses.ts';
import type { Lock, LockedPackage } from './lock-file.ts';
import type { NpmPackage, NpmPackages } from './npm-packages.ts';
import type { OsPackage } from './os-packages.ts';
import type { PackageManifest } from './package-manifest.ts';
import type { NodeRuntime } from './runtime-facts.ts';

/** Media type and artifact type of a CycloneDX document in JSON. */
export const CYCLONEDX_MEDIA_TYPE = 'application/vnd.cyclonedx+json';

/** A component of a bill of materials. */
export interface SbomComponent {
  readonly type: 'application' | 'container' | 'file' | 'library' | 'platform';
  readonly 'bom-ref': string;
  readonly name: string;
  readonly [field: string]: unknown;
}

/** A CycloneDX 1.6 document. */
export interface Sbom {
  readonly bomFormat: 'CycloneDX';
  readonly specVersion: '1.6';
  readonly serialNumber: string;
  readonly version: 1;
  readonly metadata: {
    readonly timestamp: string;
    readonly component: SbomComponent;
    readonly [field: string]: unknown;
  };
  readonly components: readonly SbomComponent[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn?: readonly string[] }[];
}

/** What goes into the document. */
export interface SbomInput {
  /** `repository:tag` of the image. */
  readonly image: string;
  readonly digest: Digest;
  /** ISO 8601. */
  readonly created: string;
  readonly app: PackageManifest | undefined;
  readonly npm: NpmPackages;
  readonly lock: Lock;
  /** This machine's Node in the image, unless the base has its own. */
  readonly runtime?: NodeRuntime | undefined;
  readonly base?: {
    readonly name: string;
    readonly digest: Digest;
    readonly nodeVersion?: string | undefined;
    readonly packages: readonly OsPackage[];
  };
}

type Dependency = Sbom['dependencies'][number];

/** Writes the document. */
export function makeSbom(input: SbomInput): Sbom {
  const image = imageComponent(input);
  const app = appComponent(input.app);
  const packages = input.npm.packages.map((one) => npmComponent(one, input.lock));
  const refs = new Map(
    input.npm.packages.map((one, index) => [`${one.name}@${one.version}`, packages[index]]),
  );
  const refsOf = (keys: readonly string[]): string[] =>
    keys.flatMap((key) => refs.get(key)?.['bom-ref'] ?? []);
  const { components: platform, dependencies: platformDependencies } = platformOf(input);
  const graph: Dependency[] = [
    {
      ref: image['bom-ref'],
      dependsOn: [app['bom-ref'], ...platform.slice(0, 1).map((one) => one['bom-ref'])],
    },
    { ref: app['bom-ref'], dependsOn: refsOf(input.npm.direct) },
    ...input.npm.packages.map((one) => ({
      ref: refs.get(`${one.name}@${one.version}`)?.['bom-ref'] ?? '',
      dependsOn: refsOf(one.dependsOn),
    })),
    ...platformDependencies,
  ];
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: `urn:uuid:${uuidFrom(`heptad sbom ${input.digest}`)}`,
    version: 1,
    metadata: {
      timestamp: input.created,
      lifecycles: [{ phase: 'build' }],
      tools: { components: [{ type: 'application', name: '@heptad/container' }] },
      component: image,
    },
    components: [app, ...packages, ...platform],
    dependencies: graph.map(({ ref, dependsOn }) => ({
      ref,
      ...(dependsOn === undefined || dependsOn.length === 0 ? {} : { dependsOn: [...new Set(dependsOn)] }),
    })),
  };
}

function imageComponent({ image, digest }: SbomInput): SbomComponent {
  const repository = image.replace(/:[^/:]*$/, '');
  const name = repository.slice(repository.lastIndexOf('/') + 1);
  const purl = `pkg:oci/${encodeURIComponent(name)}@${encodeURIComponent(digest)}?repository_url=${encodeURIComponent(repository)}`;
  return {
    type: 'container',
    'bom-ref': purl,
    name: repository,
    version: digest,
    purl,
    hashes: [{ alg: 'SHA-256', content: digestHex(digest) }],
  };
}

function appComponent(app: PackageManifest | undefined): SbomComponent {
  const name = app?.name ?? 'application';
  const licenses = licensesOf(app ?? {});
  return {
    type: 'application',
    'bom-ref': `app:${name}`,
    name,
    ...(app?.version === undefined ? {} : { version: app.version }),
    ...(app?.description === undefined ? {} : { description: app.description }),
    ...(licenses.length === 0 ? {} : { licenses }),
  };
}

function npmComponent(one: NpmPackage, lock: Lock): SbomComponent {
  const purl = `pkg:npm/${one.name.replace(/^@/, '%40')}@${encodeURIComponent(one.version)}`;
  const locked = lock.get(`${one.name}@${one.version}`);
  const licenses = licensesOf(one.manifest);
  const hashes = hashesOf(locked);
  const url = publicUrl(locked?.resolved);
  const scope = /^(@[^/]+)\/(.+)$/.exec(one.name);
  return {
    type: 'library',
    'bom-ref': one.isPublished ? purl : `workspace:${one.name}@${one.version}`,
    ...(scope === null ? {} : { group: scope[1] }),
    name: scope?.[2] ?? one.name,
    version: one.version,
    ...(one.manifest.description === undefined ? {} : { description: one.manifest.description }),
    ...(one.isPublished ? { purl } : {}),
    ...(licenses.length === 0 ? {} : { licenses }),
    ...(hashes.length === 0 ? {} : { hashes }),
    ...(url === undefined
      ? {}
      : { externalReferences: [{ type: 'distribution', url, ...(hashes.length === 0 ? {} : { hashes }) }] }),
    evidence: { occurrences: one.locations.map((location) => ({ location })) },
  };
}

const ALGORITHMS: Readonly<Record<string, { readonly alg: string; readonly bytes: number }>> = {
  sha1: { alg: 'SHA-1', bytes: 20 },
  sha256: { alg: 'SHA-256', bytes: 32 },
  sha384: { alg: 'SHA-384', bytes: 48 },
  sha512: { alg: 'SHA-512', bytes: 64 },
};

/** Subresource integrity in hexadecimal; what is not a hash of the right length is left out. */
function hashesOf(locked: LockedPackage | undefined): { alg: string; content: string }[] {
  return (locked?.integrity ?? '').split(/\s+/).flatMap((text) => {
    const dash = text.indexOf('-');
    const algorithm = ALGORITHMS[text.slice(0, dash)];
    const bytes = Buffer.from(text.slice(dash + 1).replace(/\?.*$/, ''), 'base64');
    if (algorithm === undefined || bytes.length !== algorithm.bytes) return [];
    return [{ alg: algorithm.alg, content: bytes.toString('hex') }];
  });
}

/** A URL without what people put into it to log in; undefined for a path or anything else. */
function publicUrl(text: string | undefined): string | undefined {
  const url = text === undefined ? null : URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) return undefined;
  return `${url.origin}${url.pathname}`;
}

/** Node (or the base it comes with) first, then what it stands on. */
function platformOf(input: SbomInput): { components: SbomComponent[]; dependencies: Dependency[] } {
  const { base, runtime } = input;
  const systemPackages = (base?.packages ?? runtime?.packages ?? []).map(osComponent);
  // A base may hold a package once for each database entry; a reference must be unique.
  const system = [...new Map(systemPackages.map((one) => [one['bom-ref'], one])).values()];
  const files = (runtime?.files ?? []).map(
    ({ path, sha256 }): SbomComponent => ({
      type: 'file',
      'bom-ref': `file:${path}`,
      name: path,
      hashes: [{ alg: 'SHA-256', content: sha256 }],
    }),
  );
  const version = base === undefined ? runtime?.version : base.nodeVersion;
  const node: SbomComponent = {
    type: 'platform',
    'bom-ref': 'platform:node',
    name: 'node',
    description: 'Node.js',
    ...(version === undefined
      ? {}
      : {
          version,
          purl: `pkg:generic/node@${version}`,
          cpe: `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*`,
        }),
    ...(runtime === undefined ? {} : { hashes: [{ alg: 'SHA-256', content: runtime.sha256 }] }),
    ...(runtime === undefined || runtime.bundled.length === 0
      ? {}
      : {
          components: runtime.bundled.map(({ name, version: bundledVersion }) => ({
            type: 'library',
            'bom-ref': `platform:node/${name}`,
            name,
            version: bundledVersion,
          })),
        }),
  };
  const below = [...system, ...files].map((one) => one['bom-ref']);
  const baseComponents: SbomComponent[] =
    base === undefined
      ? []
      : [
          {
            type: 'container',
            'bom-ref': `base:${base.digest}`,
            name: base.name,
            version: base.digest,
            hashes: [{ alg: 'SHA-256', content: digestHex(base.digest) }],
          },
        ];
  const refs = [...baseComponents, ...system, ...files];
  return {
    components: [node, ...refs],
    dependencies: [
      { ref: node['bom-ref'], dependsOn: base === undefined ? below : [`base:${base.digest}`] },
      ...baseComponents.map((one) => ({ ref: one['bom-ref'], dependsOn: below })),
      ...[...system, ...files].map((one) => ({ ref: one['bom-ref'] })),
    ],
  };
}

function osComponent(one: OsPackage): SbomComponent {
  const qualifiers = [
    ...(one.architecture === undefined ? [] : [`arch=${one.architecture}`]),
    ...(one.release === undefined ? [] : [`distro=${one.distribution}-${one.release}`]),
  ].join('&');
  const version = encodeURIComponent(one.version);
  const name = encodeURIComponent(one.name);
  const purl = `pkg:${one.type}/${one.distribution}/${name}@${version}${qualifiers === '' ? '' : `?${qualifiers}`}`;
  return {
    type: 'library',
    'bom-ref': purl,
    name: one.name,
    version: one.version,
    purl,
    ...(one.paths === undefined
      ? {}
      : { evidence: { occurrences: one.paths.map((location) => ({ location })) } }),
  };
}

/** A UUID that depends on `text` only (version 8 of RFC 9562): a random one would make every build differ. */
function uuidFrom(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
