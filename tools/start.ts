// `npm start`: build what is needed, boot the platform on this machine, deploy the shop, follow events.

import { spawn, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureSystemPackages, PLATFORM_PACKAGES } from './system.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

function say(text: string): void {
  process.stderr.write(`heptad: ${text}\n`);
}

const missing = ensureSystemPackages(PLATFORM_PACKAGES);
if (missing.length > 0) {
  say(`without ${missing.join(', ')} services run as plain processes, not isolated containers.`);
  say(`to get full isolation: sudo apt-get install ${missing.join(' ')}, then npm start as root`);
}

say('building (unchanged parts come from the cache)…');
const filters = ['@heptad/platform...', '@heptad/shop...', '@heptad/console...'].flatMap((name) => [
  '--filter',
  name,
]);
const build = spawnSync('turbo', ['run', 'build', '--output-logs=errors-only', ...filters], {
  cwd: root,
  stdio: ['ignore', process.stderr, process.stderr],
});
if (build.status !== 0) {
  say('the build failed; its messages are above');
  process.exit(build.status ?? 1);
}

const args = [
  join(root, 'apps/platform/dist/cli/main.js'),
  'up',
  '-f',
  join(root, 'apps/shop/compose.yaml'),
  ...process.argv.slice(2),
];
const platform = spawn(process.execPath, args, { cwd: root, stdio: 'inherit' });
// Ctrl-C reaches the platform through the terminal; we wait for its clean-up.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (signal !== 'SIGINT') platform.kill(signal);
  });
}
platform.on('exit', (code, signal) => process.exit(signal === null ? (code ?? 1) : 128));
