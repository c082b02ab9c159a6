// The examples, as they are run by the tests.

import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

const directory = new URL('../../examples/', import.meta.url).pathname;

/** The page of examples. */
export function examplesPage(): string {
  const parts = globSync(`${directory}*.ts`)
    .sort()
    .map((file) => {
      const text = readFileSync(file, 'utf8');
      const name = basename(file, '.ts');
      const title = `${name.charAt(0).toUpperCase()}${name.slice(1).replaceAll('-', ' ')}`;
      return `## ${title}\n\n\`node --conditions=heptad-source docs/examples/${name}.ts\`\n\n\`\`\`ts\n${text.trim()}\n\`\`\`\n`;
    });
  return `# Examples

One program per package face. The tests compile and run each of them against real components.

${parts.join('\n')}`;
}
