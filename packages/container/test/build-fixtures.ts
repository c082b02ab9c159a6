// Applications as npm, pnpm and yarn lay them out, for the tests of the build.

import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** The SHA-512 of "left-pad", as a lock file writes it, and in hexadecimal. */
const INTEGRITY =
  'sha512-5GMYBVhDxJ3VcPhQGwXJKSpXbUVzk9ZMTsVkrP4n/xrD7LHZkR3yURtaDROmY7sxyJ5+Cd2ajpiS4ZnFBpQyVA==';
export const INTEGRITY_HEX: string = Buffer.from(INTEGRITY.slice(7), 'base64').toString('hex');

/** Writes files by path. */
export async function tree(root: string, files: Readonly<Record<string, string | object>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), typeof content === 'string' ? content : JSON.stringify(content));
  }
}

/** What npm lays out: nested where versions differ, with its hidden lock file. */
export async function npmApp(directory: string): Promise<void> {
  await tree(directory, {
    'package.json': {
      name: '@acme/shop',
      version: '1.2.3',
      description: 'Sells things',
      license: 'Apache-2.0',
      repository: { type: 'git', url: 'git+https://git.example/acme/shop.git' },
      scripts: { start: 'NODE_ENV=staging node --enable-source-maps dist/server.js --port 8080' },
      dependencies: { express: '^4', '@scope/util': '^1' },
    },
    'dist/server.js':
      'console.log(require("express"), require("@scope/util"), process.argv, process.getuid());',
    'README.md': 'secret plans',
    '.dockerignore': 'node_modules\n*.md\n',
    'node_modules/express/package.json': {
      name: 'express',
      version: '4.0.0',
      license: 'MIT',
      dependencies: { debug: '^2' },
    },
    'node_modules/express/index.js': 'module.exports = "express with " + require("debug");',
    'node_modules/express/node_modules/debug/package.json': {
      name: 'debug',
      version: '2.0.0',
      licenses: [{ type: 'MIT' }, { type: 'X11' }],
    },
    'node_modules/express/node_modules/debug/index.js': 'module.exports = "debug 2";',
    'node_modules/debug/package.json': { name: 'debug', version: '3.0.0', license: 'SEE LICENSE IN LICENSE' },
    'node_modules/@scope/util/package.json': {
      name: '@scope/util',
      version: '1.0.0',
      license: '(MIT OR Apache-2.0)',
      bin: { util: 'cli.js' },
      dependencies: { debug: '^3' },
    },
    'node_modules/@scope/util/index.js': 'module.exports = "util";',
    'node_modules/@scope/util/cli.js': '#!/usr/bin/env node\nconsole.log("cli")',
    'node_modules/.package-lock.json': {
      lockfileVersion: 3,
      packages: {
        'node_modules/express': {
          version: '4.0.0',
          resolved: 'https://user:secret@registry.example/express/-/express-4.0.0.tgz?token=1',
          integrity: INTEGRITY,
        },
        'node_modules/express/node_modules/debug': { version: '2.0.0', integrity: 'sha512-tooshort' },
        'node_modules/@scope/util': { version: '0.9.0', integrity: INTEGRITY },
      },
    },
  });
  await chmod(join(directory, 'node_modules/@scope/util/cli.js'), 0o755);
  await mkdir(join(directory, 'node_modules/.bin'));
  await symlink('../@scope/util/cli.js', join(directory, 'node_modules/.bin/util'));
}

/** What pnpm lays out: packages in a virtual store, links to them, and a package of the workspace. */
export async function pnpmApp(directory: string): Promise<void> {
  const store = 'node_modules/.pnpm';
  await tree(directory, {
    'package.json': {
      name: 'api',
      version: '0.1.0',
      main: 'server.mjs',
      dependencies: { fastify: '^5', local: 'workspace:*' },
    },
    'server.mjs': 'import f from "fastify"; import l from "local"; console.log(f, l);',
    'pnpm-lock.yaml': `lockfileVersion: '9.0'\npackages:\n  fastify@5.0.0:\n    resolution: {integrity: ${INTEGRITY}}\n  pino@9.0.0:\n    resolution: {integrity: ${INTEGRITY}}\n`,
    'packages/local/package.json': { name: 'local', version: '0.0.1', main: 'i.js' },
    'packages/local/i.js': 'module.exports = "local";',
    [`${store}/fastify@5.0.0/node_modules/fastify/package.json`]: {
      name: 'fastify',
      version: '5.0.0',
      license: 'MIT',
      dependencies: { pino: '^9' },
    },
    [`${store}/fastify@5.0.0/node_modules/fastify/index.js`]:
      'module.exports = "fastify over " + require("pino");',
    [`${store}/pino@9.0.0/node_modules/pino/package.json`]: {
      name: 'pino',
      version: '9.0.0',
      license: 'MIT',
    },
    [`${store}/pino@9.0.0/node_modules/pino/index.js`]: 'module.exports = "pino";',
  });
  await symlink('.pnpm/fastify@5.0.0/node_modules/fastify', join(directory, 'node_modules/fastify'));
  await symlink('../packages/local', join(directory, 'node_modules/local'));
  await symlink(
    '../../pino@9.0.0/node_modules/pino',
    join(directory, `${store}/fastify@5.0.0/node_modules/pino`),
  );
}
