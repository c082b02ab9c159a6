// The READMEs and format descriptions of the packages, as pages of this site.

import { existsSync, readFileSync } from 'node:fs';

const root = new URL('../../../', import.meta.url).pathname;

/** Packages in the order in which a reader meets them. */
export const PACKAGES: readonly string[] = [
  'core',
  'container',
  'orchestrator',
  'mesh',
  'storage',
  'security',
  'dr',
  'monitoring',
];

/** Pages by file name below `reference/generated/`. */
export function packagePages(): Record<string, string> {
  const pages: Record<string, string> = {};
  for (const name of PACKAGES) {
    for (const [file, folder] of [
      ['README.md', 'packages'],
      ['FORMATS.md', 'formats'],
    ] as const) {
      const source = `${root}packages/${name}/${file}`;
      if (existsSync(source)) pages[`${folder}/${name}.md`] = asPage(readFileSync(source, 'utf8'), name);
    }
  }
  return pages;
}

/** Links of the repository become links of the site, or lead to the repository. */
function asPage(text: string, name: string): string {
  return text
    .replace(/\]\(\.?\/?FORMATS\.md(#[\w-]*)?\)/g, `](../formats/${name})`)
    .replace(
      /\]\((?!https?:|#|\/|\.\.\/formats)([^)]+)\)/g,
      `](https://github.com/heptad/heptad/blob/main/packages/${name}/$1)`,
    );
}
