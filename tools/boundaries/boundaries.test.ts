// Each break of a boundary, planted in a tree of its own, is found; what is allowed is not.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkTree } from './tree.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'heptad-boundaries-'));
  write('package.json', JSON.stringify({ name: 'root', devDependencies: { vitest: '1' } }));
  write('packages/core/package.json', JSON.stringify({ name: '@heptad/core', dependencies: { zod: '1' } }));
  write(
    'packages/mesh/package.json',
    JSON.stringify({ name: '@heptad/mesh', dependencies: { '@heptad/core': '1', undici: '1' } }),
  );
  write('packages/core/src/index.ts', 'export const a = 1;\n');
  write('packages/mesh/src/index.ts', 'export const b = 1;\n');
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

/** Runs the command as CI does. */
function command(): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, root], { encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

const MESH = 'packages/mesh/src/planted.ts';

describe('the boundaries check', () => {
  it('passes a clean tree', () => {
    expect(command()).toEqual({ status: 0, output: '2 files of 2 packages keep the boundaries\n' });
  });

  it('fails with where, what, why and what to do', () => {
    write(MESH, 'export const t = Date.now();\n');
    const { status, output } = command();
    expect(status).toBe(1);
    expect(output).toMatch(
      /^packages\/mesh\/src\/planted.ts:1 {2}\[time-and-chance\] Date.now\n {2}why: .+\n {2}do: {2}.+\n1 break/,
    );
  });

  const planted: readonly [what: string, file: string, text: string][] = [
    ["import of '@heptad/storage'", MESH, `import { x } from '@heptad/storage';`],
    ["import of '@heptad/platform/cli'", MESH, `export * from '@heptad/platform/cli';`],
    ["import of '@heptad/storage'", MESH, `type S = import('@heptad/storage').S;`],
    ["import of '@heptad/storage'", MESH, `import type { S } from '@heptad/storage';`],
    ["import of '@heptad/storage'", MESH, `const s = await import('@heptad/storage');`],
    ["import of '@heptad/storage'", MESH, `const s = require('@heptad/storage');`],
    ["import of '@heptad/storage'", 'packages/mesh/test/x.test.ts', `import { x } from '@heptad/storage';`],
    ["import of '../../core/src/index.ts'", MESH, `import { a } from '../../core/src/index.ts';`],
    ["import of '../../../apps/shop/x.ts'", MESH, `import { a } from '../../../apps/shop/x.ts';`],
    ["import of 'lodash'", MESH, `import l from 'lodash';`],
    ["import of 'vitest'", MESH, `import { it } from 'vitest';`],
    ["import of 'fs'", MESH, `import fs from 'fs';`],
    ["import of '@heptad/mesh'", 'packages/core/src/planted.ts', `import { b } from '@heptad/mesh';`],
    ['Date.now', MESH, 'const t = Date.now();'],
    ['Date.now', MESH, 'const read = Date.now;'],
    ['Date.now', MESH, `const t = Date['now']();`],
    ['Date.now', MESH, 'const t = globalThis.Date.now();'],
    ['Date.now', MESH, 'const { now } = Date;'],
    ['new Date()', MESH, 'const t = new Date();'],
    ['new Date()', MESH, 'const t = new Date;'],
    ['Date()', MESH, 'const t = Date();'],
    ['performance.now', MESH, 'const t = performance.now();'],
    ['process.hrtime', MESH, 'const t = process.hrtime.bigint();'],
    ['Math.random', MESH, 'const r = Math.random();'],
    ['Math.random', MESH, 'const { random: r } = Math;'],
    ['setTimeout', MESH, 'setTimeout(() => {}, 1);'],
    ['setTimeout', MESH, 'const later = setTimeout;'],
    ['setTimeout', MESH, 'const o = { setTimeout };'],
    ['globalThis.setTimeout', MESH, 'globalThis.setTimeout(() => {}, 1);'],
    ['setInterval', MESH, 'setInterval(() => {}, 1);'],
    ['setImmediate', MESH, 'setImmediate(() => {});'],
    ['AbortSignal.timeout', MESH, 'const s = AbortSignal.timeout(5);'],
    ["import of 'node:timers'", MESH, `import { setTimeout as later } from 'node:timers';`],
    ["import of 'node:timers/promises'", MESH, `import { scheduler } from 'node:timers/promises';`],
    ['crypto.randomUUID', MESH, 'const id = crypto.randomUUID();'],
    ['crypto.randomUUID', MESH, 'const id = globalThis.crypto.randomUUID();'],
    ['import of randomUUID', MESH, `import { randomUUID as id } from 'node:crypto';`],
    ['Math.random', 'packages/core/src/sim/planted.ts', 'const r = Math.random();'],
    ['console', MESH, `console.log('x');`],
    ['console', MESH, 'const { log } = console;'],
    ['console', 'packages/core/src/ports/node/planted.ts', `console.error('x');`],
  ];
  for (const [what, file, text] of planted) {
    it(`fails on ${text} in ${file}`, () => {
      write(file, `// planted\n\n${text}\n`);
      const { violations } = checkTree(root);
      expect(violations.length).toBeGreaterThan(0);
      expect(violations[0]).toMatchObject({ file, line: 3, what: expect.stringContaining(what) });
    });
  }

  const allowed: readonly [file: string, text: string][] = [
    [MESH, `import { a } from '@heptad/core';\nimport { Simulation } from '@heptad/core/sim';`],
    [MESH, `import { readFile } from 'node:fs/promises';\nimport { b } from './index.ts';`],
    [MESH, `import { Agent } from 'undici';\nimport x from 'undici/lib/x.js';`],
    [MESH, `import { randomBytes } from 'node:crypto';`],
    [MESH, 'const d = new Date(5), p = Date.parse("x"), is = d instanceof Date, m = Math.max(1, 2);'],
    [MESH, 'interface T { setTimeout: number; console: string }\nconst t = { setTimeout: 1, console: "" };'],
    [MESH, 'declare const socket: { setTimeout(ms: number): void };\nsocket.setTimeout(5);'],
    [MESH, '// Date.now() in a comment\nconst text = "Math.random() and console.log";'],
    [
      'packages/core/src/ports/node/clock.ts',
      'export const now = () => Date.now();\nsetTimeout(() => {}, 1);',
    ],
    [
      'packages/mesh/src/x.test.ts',
      `import { it } from 'vitest';\nsetTimeout(() => console.log(Date.now()), 1);`,
    ],
    ['packages/mesh/test/helper.ts', `import { it } from 'vitest';\nsetTimeout(() => {}, 1);`],
    ['packages/mesh/dist/x.js', `import '@heptad/storage'; Date.now();`],
    ['packages/mesh/node_modules/y/x.js', `import '@heptad/storage'; Date.now();`],
    ['packages/mesh/src/self.test.ts', `import { b } from '@heptad/mesh';`],
  ];
  for (const [file, text] of allowed) {
    it(`allows ${JSON.stringify(text)} in ${file}`, () => {
      write(file, `${text}\n`);
      expect(checkTree(root).violations).toEqual([]);
    });
  }
});
