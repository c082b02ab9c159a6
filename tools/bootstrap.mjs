// Dependency-free bootstrap: gets a Node and a pnpm that the project can use, then hands over to them.
// Plain JavaScript that Node 18 can run; nothing here may import a package.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const toolchain = join(root, '.toolchain');
const windows = process.platform === 'win32';

/** The oldest Node with node:sqlite out of experiment, crypto.argon2 and zstd. */
const NODE_MINIMUM = [24, 15];
const NODE_RANGE = '^24.15.0';
const PNPM_VERSION = '12.21.0';

function isNewEnough(version) {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  return major > NODE_MINIMUM[0] + 1 || (major === NODE_MINIMUM[0] && minor >= NODE_MINIMUM[1]);
}

function fail(message) {
  process.stderr.write(`heptad: ${message}\n`);
  process.exit(1);
}

/** Runs a command with our output; answers its exit code. */
function run(command, args, options = {}) {
  const result = spawnSync(command, args, { stdio: 'inherit', cwd: root, ...options });
  if (result.error) fail(`cannot run ${command}: ${result.error.message}`);
  if (result.signal) return 128;
  return result.status ?? 1;
}

function answersVersion(command) {
  const result = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

// The platform's Node binary package needs no install script, unlike the `node` package that wraps it.
const nodePackage = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
const localNode = join(toolchain, 'node_modules', nodePackage, 'bin', windows ? 'node.exe' : 'node');
const localBin = join(toolchain, 'node_modules', '.bin');

function installToolchain(packages) {
  process.stderr.write(`heptad: installing ${packages.join(' and ')} into .toolchain (once)…\n`);
  mkdirSync(toolchain, { recursive: true });
  if (!existsSync(join(toolchain, 'package.json'))) {
    writeFileSync(join(toolchain, 'package.json'), '{ "private": true }\n');
  }
  const code = run('npm', [
    'install',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
    '--prefix',
    toolchain,
    ...packages,
  ]);
  if (code !== 0) {
    fail(
      `npm could not install ${packages.join(', ')}. Check the network and the npm registry setting, or install ` +
        `Node ${NODE_RANGE} and pnpm ${PNPM_VERSION} yourself and run the command again.`,
    );
  }
}

function ensureToolchain(needsPnpm) {
  const missing = [];
  let node = process.execPath;
  if (!isNewEnough(process.version)) {
    node = localNode;
    if (!existsSync(localNode) || !isNewEnough(answersVersion(localNode) ?? 'v0'))
      missing.push(`${nodePackage}@${NODE_RANGE}`);
  }
  const pnpm = join(localBin, windows ? 'pnpm.cmd' : 'pnpm');
  if (needsPnpm && answersVersion(pnpm) !== PNPM_VERSION) missing.push(`pnpm@${PNPM_VERSION}`);
  if (missing.length > 0) installToolchain(missing);
  if (!existsSync(node)) fail(`${nodePackage} was installed but has no binary at ${node}`);
  return { node, pnpm };
}

function ensureDependencies(pnpm, env) {
  // pnpm's own state file is newer than the lockfile exactly when nothing needs to be installed.
  const args = [
    'install',
    '--frozen-lockfile',
    '--prefer-offline',
    '--reporter=append-only',
    '--loglevel=warn',
  ];
  const code = run(pnpm, args, { env, stdio: ['ignore', process.stderr, process.stderr] });
  if (code !== 0) fail('pnpm install failed; its output above says why.');
}

const [command = 'start', ...rest] = process.argv.slice(2);
// The CLI of an installed checkout runs without pnpm: it must not need a registry.
const installs = command !== 'heptad' || !existsSync(join(root, 'node_modules', '.modules.yaml'));
const { node, pnpm } = ensureToolchain(installs);
const separator = windows ? ';' : ':';
const env = {
  ...process.env,
  PATH: [dirname(node), localBin, process.env.PATH].join(separator),
  TURBO_TELEMETRY_DISABLED: '1',
  DO_NOT_TRACK: '1',
};

const targets = {
  start: [join(root, 'tools', 'start.ts')],
  test: [join(root, 'tools', 'test.ts')],
  heptad: ['--conditions=heptad-source', join(root, 'apps', 'platform', 'src', 'cli', 'main.ts')],
  pnpm: undefined,
};
if (!(command in targets)) fail(`unknown command "${command}"; known: ${Object.keys(targets).join(', ')}`);
if (command === 'pnpm') process.exit(run(pnpm, rest, { env, cwd: process.cwd() }));
if (installs) ensureDependencies(pnpm, env);
const target = targets[command];

// The child shares our terminal and gets Ctrl-C itself; we only wait, so that its clean-up is not cut short.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
const { spawn } = await import('node:child_process');
const child = spawn(node, [...target, ...rest], {
  stdio: 'inherit',
  env,
  cwd: command === 'heptad' ? process.cwd() : root,
});
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(signal ? 128 : (code ?? 1)));
