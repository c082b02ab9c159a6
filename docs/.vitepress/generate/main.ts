// Writes the reference pages that are read off the program itself: commands, routes, error codes, Compose keys.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { cliPage } from './cli.ts';
import { composePage } from './compose.ts';
import { errorsPage } from './errors.ts';
import { examplesPage } from './examples.ts';
import { httpApiPage } from './http-api.ts';
import { packagePages } from './packages.ts';

const directory = new URL('../../reference/generated/', import.meta.url);
rmSync(directory, { recursive: true, force: true });
for (const folder of ['formats', 'packages'])
  mkdirSync(new URL(`${folder}/`, directory), { recursive: true });
const pages: Record<string, string> = {
  'cli.md': cliPage(),
  'compose-keys.md': await composePage(),
  'errors.md': errorsPage(),
  'examples.md': examplesPage(),
  'http-api.md': httpApiPage(),
  ...packagePages(),
};
for (const [name, text] of Object.entries(pages)) writeFileSync(new URL(name, directory), text);
console.error(`docs: wrote ${Object.keys(pages).length} pages into reference/generated`);
