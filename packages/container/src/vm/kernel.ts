// The guest's kernel: the newest cloud kernel in /boot, and the modules of it that a virtual machine needs.

import { access, constants, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerError } from '../errors.ts';

/** A kernel to boot. */
export interface GuestKernel {
  readonly image: string;
  /** As in /lib/modules: `6.1.0-56-cloud-amd64`. */
  readonly release: string;
  readonly modulesDirectory: string;
}

/** What the guest cannot do without, by the names of modules.dep; one that is built in is not there, and not missed. */
export const GUEST_MODULES: readonly string[] = [
  'virtio_pci',
  'virtio_console',
  'virtio_blk',
  'virtio_net',
  'virtio_balloon',
  'virtio-rng',
  'virtiofs',
];

const HINT = 'apt-get install linux-image-cloud-amd64';

/** Finds the kernel. Throws `RUNTIME_UNAVAILABLE` when there is none that we can read. */
export async function findKernel(boot = '/boot', modules = '/lib/modules'): Promise<GuestKernel> {
  const names = await readdir(boot).catch(() => []);
  const releases = names.flatMap((name) => /^vmlinuz-(.+)$/.exec(name)?.[1] ?? []);
  // The cloud kernel boots fastest; any other Debian kernel has the same drivers as modules.
  const ordered = [
    ...releases.filter(isCloud).sort(byVersion),
    ...releases.filter((each) => !isCloud(each)).sort(byVersion),
  ];
  const unreadable: string[] = [];
  for (const release of ordered) {
    const kernel = {
      image: join(boot, `vmlinuz-${release}`),
      release,
      modulesDirectory: join(modules, release),
    };
    const readable = await access(kernel.image, constants.R_OK)
      .then(() => access(join(kernel.modulesDirectory, 'modules.dep'), constants.R_OK).then(() => true))
      .catch(() => false);
    if (readable) return kernel;
    unreadable.push(kernel.image);
  }
  const why =
    unreadable.length === 0
      ? `there is no kernel in ${boot}`
      : `${unreadable.join(', ')}: not readable, or without modules`;
  throw new ContainerError('RUNTIME_UNAVAILABLE', `cannot find a kernel for virtual machines: ${why}`, {
    hint: HINT,
  });
}

function isCloud(release: string): boolean {
  return release.includes('cloud');
}

/** Newest first. */
function byVersion(one: string, other: string): number {
  return other.localeCompare(one, 'en', { numeric: true });
}

/**
 * Paths (relative to the modules directory) of `names` and of all they need, in the order in which they must be loaded.
 * `text` is modules.dep, whose lines name a module and, last needed first, its dependencies.
 */
export function loadOrder(text: string, names: readonly string[]): string[] {
  const needs = new Map<string, string[]>();
  const pathOf = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [path, rest] = line.split(':');
    if (path === undefined || rest === undefined) continue;
    needs.set(
      path,
      rest
        .trim()
        .split(/\s+/)
        .filter((each) => each !== ''),
    );
    pathOf.set(moduleName(path), path);
  }
  const order = new Set<string>();
  const visit = (path: string, above: ReadonlySet<string>): void => {
    if (order.has(path) || above.has(path)) return;
    for (const needed of needs.get(path) ?? []) visit(needed, new Set([...above, path]));
    order.add(path);
  };
  for (const name of names) {
    const path = pathOf.get(moduleName(name));
    if (path !== undefined) visit(path, new Set());
  }
  return [...order];
}

/** `-` and `_` mean the same in module names. */
function moduleName(path: string): string {
  return (path.split('/').at(-1) ?? path).replace(/\.ko(\.\w+)?$/, '').replaceAll('-', '_');
}

/** Bytes of the modules in load order. Throws `RUNTIME_UNAVAILABLE` for compressed ones, which only modprobe can load. */
export async function readModules(kernel: GuestKernel): Promise<{ name: string; data: Buffer }[]> {
  const text = await readFile(join(kernel.modulesDirectory, 'modules.dep'), 'utf8');
  const paths = loadOrder(text, GUEST_MODULES);
  const compressed = paths.find((path) => !path.endsWith('.ko'));
  if (compressed !== undefined) {
    throw new ContainerError(
      'RUNTIME_UNAVAILABLE',
      `cannot use kernel ${kernel.release} for virtual machines: its module ${compressed} is compressed`,
      { hint: HINT },
    );
  }
  return await Promise.all(
    paths.map(async (path, index) => ({
      name: `${String(index).padStart(2, '0')}-${path.split('/').at(-1)}`,
      data: await readFile(join(kernel.modulesDirectory, path)),
    })),
  );
}
