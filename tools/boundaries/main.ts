// `node tools/boundaries/main.ts [root]`: checks the boundaries of all packages; exit code 1 lists what breaks them.

import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkTree } from './tree.ts';

const root = resolve(process.argv[2] ?? dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const { packages, files, violations } = checkTree(root);

for (const { file, line, rule, what, why, instead } of violations) {
  process.stdout.write(`${file}:${line}  [${rule}] ${what}\n  why: ${why}\n  do:  ${instead}\n`);
}
if (violations.length === 0) {
  process.stdout.write(`${files} files of ${packages} packages keep the boundaries\n`);
} else {
  process.stdout.write(
    `${violations.length} breaks of the boundaries in ${files} files of ${packages} packages\n`,
  );
  process.exitCode = 1;
}
