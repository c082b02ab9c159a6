// The bill of materials: valid CycloneDX 1.6, and true of what is in the image.

import { rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { buildNodeImage, ImageStore, readSbom, type Sbom, type SbomComponent } from '@heptad/container';
import { Ajv } from 'ajv';
import formats from 'ajv-formats';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseManifest } from '../src/image/manifest.ts';
import { INTEGRITY_HEX, npmApp, pnpmApp, tree } from './build-fixtures.ts';
import { temporaryDirectory } from './support.ts';

let home: string;
let images: ImageStore;

beforeEach(async () => {
  home = await temporaryDirectory();
  images = await ImageStore.open({ home: join(home, 'images') });
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

/** Holds a document against the schema that CycloneDX publishes. */
function violations(sbom: Sbom): unknown {
  const require = createRequire(import.meta.url);
  // The package exports its code only; its schemas lie in res/schema beside it.
  const main = require.resolve('@cyclonedx/cyclonedx-library');
  const root = main.slice(0, main.indexOf('cyclonedx-library/') + 'cyclonedx-library'.length);
  const schema = (name: string): object => require(join(root, 'res/schema', name)) as object;
  const ajv = new Ajv({ strict: false, allErrors: true });
  formats.default(ajv);
  ajv.addFormat('iri-reference', true);
  ajv.addFormat('idn-email', true);
  ajv.addSchema(schema('spdx.SNAPSHOT.schema.json'), 'http://cyclonedx.org/schema/spdx.SNAPSHOT.schema.json');
  ajv.addSchema(
    schema('jsf-0.82.SNAPSHOT.schema.json'),
    'http://cyclonedx.org/schema/jsf-0.82.SNAPSHOT.schema.json',
  );
  const validate = ajv.compile(schema('bom-1.6.SNAPSHOT.schema.json'));
  return validate(sbom) ? [] : validate.errors;
}

async function sbomOf(layout: (directory: string) => Promise<void>, small = true): Promise<Sbom> {
  const directory = join(home, 'app');
  await layout(directory);
  await buildNodeImage({
    images,
    name: 'registry.example:5000/acme/app:v1',
    directory,
    ...(small ? { nodeBinary: '/bin/true', tools: [] } : {}),
  });
  return await readSbom(images, 'registry.example:5000/acme/app:v1');
}

function find(sbom: Sbom, ref: string): SbomComponent | undefined {
  return sbom.components.find((one) => one['bom-ref'] === ref);
}

describe('the bill of materials of an npm application', () => {
  it('is valid CycloneDX 1.6', async () => {
    expect(violations(await sbomOf(npmApp, false))).toEqual([]);
  });

  it('the check itself notices what is wrong', async () => {
    const sbom = await sbomOf(npmApp);
    expect(
      violations({ ...sbom, components: [{ type: 'nonsense', 'bom-ref': 'x', name: 'x' }] as never }),
    ).not.toEqual([]);
  });

  it('names every package that is there, with licences, and hashes of the lock file for just that version', async () => {
    const sbom = await sbomOf(npmApp);
    const libraries = sbom.components.filter(({ purl }) => String(purl).startsWith('pkg:npm/'));
    expect(libraries.map(({ purl }) => purl)).toEqual([
      'pkg:npm/%40scope/util@1.0.0',
      'pkg:npm/debug@2.0.0',
      'pkg:npm/debug@3.0.0',
      'pkg:npm/express@4.0.0',
    ]);
    expect(find(sbom, 'pkg:npm/express@4.0.0')).toMatchObject({
      name: 'express',
      version: '4.0.0',
      licenses: [{ expression: 'MIT' }],
      hashes: [{ alg: 'SHA-512', content: INTEGRITY_HEX }],
      evidence: { occurrences: [{ location: '/app/node_modules/express' }] },
    });
    expect(find(sbom, 'pkg:npm/%40scope/util@1.0.0')).toMatchObject({
      group: '@scope',
      name: 'util',
      licenses: [{ expression: '(MIT OR Apache-2.0)' }],
    });
    expect(find(sbom, 'pkg:npm/debug@2.0.0')?.licenses).toEqual([
      { license: { name: 'MIT' } },
      { license: { name: 'X11' } },
    ]);
    expect(find(sbom, 'pkg:npm/debug@3.0.0')?.licenses).toEqual([
      { license: { name: 'SEE LICENSE IN LICENSE' } },
    ]);
    // The lock names another version of it, and a hash that is none.
    expect(find(sbom, 'pkg:npm/%40scope/util@1.0.0')?.hashes).toBeUndefined();
    expect(find(sbom, 'pkg:npm/debug@2.0.0')?.hashes).toBeUndefined();
    expect(JSON.stringify(sbom)).not.toContain('secret');
  });

  it('says what depends on what, as Node would resolve it', async () => {
    const sbom = await sbomOf(npmApp);
    const on = (ref: string): readonly string[] | undefined =>
      sbom.dependencies.find((each) => each.ref === ref)?.dependsOn;
    expect(on('app:@acme/shop')).toEqual(['pkg:npm/%40scope/util@1.0.0', 'pkg:npm/express@4.0.0']);
    expect(on('pkg:npm/express@4.0.0')).toEqual(['pkg:npm/debug@2.0.0']);
    expect(on('pkg:npm/%40scope/util@1.0.0')).toEqual(['pkg:npm/debug@3.0.0']);
    const refs = new Set(
      [sbom.metadata.component, ...sbom.components].map((component) => component['bom-ref']),
    );
    expect(refs.size).toBe(sbom.components.length + 1);
    for (const { ref, dependsOn } of sbom.dependencies)
      for (const each of [ref, ...(dependsOn ?? [])]) expect(refs).toContain(each);
  });

  it('names Node, its parts, and the Debian packages that its libraries come from', async () => {
    const sbom = await sbomOf(npmApp, false);
    const node = find(sbom, 'platform:node');
    expect(node).toMatchObject({ type: 'platform', version: process.versions.node });
    expect(node?.components).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ name: 'openssl', version: process.versions.openssl }),
      ]),
    );
    const libc = sbom.components.find(({ name }) => name === 'libc6');
    expect(libc).toMatchObject({
      purl: expect.stringMatching(/^pkg:deb\/debian\/libc6@\S+\?arch=\w+&distro=debian-\d+$/),
    });
    expect(JSON.stringify(libc?.evidence)).toContain('libc.so.6');
  });
});

describe('the bill of materials of a pnpm application', () => {
  it('finds packages behind links, with the hashes of pnpm-lock.yaml, and those of the workspace', async () => {
    const sbom = await sbomOf(pnpmApp);
    expect(violations(sbom)).toEqual([]);
    expect(find(sbom, 'pkg:npm/fastify@5.0.0')?.hashes).toEqual([{ alg: 'SHA-512', content: INTEGRITY_HEX }]);
    expect(sbom.dependencies.find(({ ref }) => ref === 'pkg:npm/fastify@5.0.0')?.dependsOn).toEqual([
      'pkg:npm/pino@9.0.0',
    ]);
    expect(sbom.dependencies.find(({ ref }) => ref === 'app:api')?.dependsOn).toEqual([
      'pkg:npm/fastify@5.0.0',
      'workspace:local@0.0.1',
    ]);
    // It is on no registry, so nobody should look it up there.
    expect(find(sbom, 'workspace:local@0.0.1')?.purl).toBeUndefined();
  });
});

describe('as an artifact', () => {
  it('is a manifest about the image, found by it and gone with it', async () => {
    await sbomOf(npmApp);
    const { digest } = await images.inspect('registry.example:5000/acme/app:v1');
    const [referrer] = await images.referrers(digest);
    const manifest = parseManifest(
      await images.content.readBytes(referrer?.descriptor.digest ?? '', 1_000_000),
    );
    expect(manifest).toMatchObject({
      artifactType: 'application/vnd.cyclonedx+json',
      config: { mediaType: 'application/vnd.oci.empty.v1+json', size: 2 },
      layers: [{ mediaType: 'application/vnd.cyclonedx+json' }],
      subject: { digest, mediaType: 'application/vnd.oci.image.manifest.v1+json' },
    });
  });

  it('is not there when it is not wanted', async () => {
    const directory = join(home, 'app');
    await tree(directory, { 'index.js': '' });
    await buildNodeImage({
      images,
      name: 'plain',
      directory,
      nodeBinary: '/bin/true',
      tools: [],
      sbom: false,
    });
    await expect(readSbom(images, 'plain')).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
  });
});
