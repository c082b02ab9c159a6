// Labels that say what an image is, in OCI's own words.

import type { BaseImage } from './base-image.ts';
import { isSpdxExpression } from './licenses.ts';
import type { PackageManifest } from './package-manifest.ts';

const PREFIX = 'org.opencontainers.image';

/** The `org.opencontainers.image.*` labels that package.json and the base give. Source: OCI image specification, annotations. */
export function imageLabels(
  manifest: PackageManifest | undefined,
  created: string | undefined,
  base: BaseImage | undefined,
): Record<string, string> {
  const { license } = manifest ?? {};
  const labels: Record<string, string | undefined> = {
    title: manifest?.name,
    version: manifest?.version,
    description: manifest?.description,
    authors: manifest?.author,
    url: manifest?.homepage,
    source: sourceUrl(manifest?.repository),
    licenses: typeof license === 'string' && isSpdxExpression(license) ? license : undefined,
    created,
    'base.name': base?.name,
    'base.digest': base?.digest,
  };
  return Object.fromEntries(
    Object.entries(labels).flatMap(([key, value]) =>
      value === undefined ? [] : [[`${PREFIX}.${key}`, value]],
    ),
  );
}

/** package.json writes `git+https://…`; the label wants what a browser opens. Short forms are left out: they name no host. */
function sourceUrl(repository: string | undefined): string | undefined {
  const url = repository?.replace(/^git\+/, '');
  return url !== undefined && /^https?:\/\//.test(url) ? url : undefined;
}
