// The proxy's last snapshot on disk, so that it can serve after a restart even while the server is down.

import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { MeshSnapshot } from '@heptad/core';

/** Its name in the platform's run directory. */
export const SNAPSHOT_FILE = 'mesh-snapshot.json';

function isSnapshot(value: unknown): value is MeshSnapshot {
  if (typeof value !== 'object' || value === null) return false;
  return (
    ['services', 'endpoints', 'policies', 'rules'].every((key) => Array.isArray(Reflect.get(value, key))) &&
    'workloads' in value
  );
}

/** The snapshot last saved; undefined when there is none that can be used. */
export async function loadSnapshot(path: string): Promise<MeshSnapshot | undefined> {
  try {
    const parsed: unknown = JSON.parse(await readFile(path, 'utf8'));
    return isSnapshot(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** Saves it whole or not at all. It is a cache: it need not survive power loss. */
export async function saveSnapshot(path: string, snapshot: MeshSnapshot): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.tmp`, JSON.stringify(snapshot), { mode: 0o600 });
  await rename(`${path}.tmp`, path);
}
