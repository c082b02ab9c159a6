// Tokens that let the other processes of this machine talk to the server: files only their user can read.

import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CloudNativeSecurity } from '@heptad/security';

const SECRET_BYTES = 32;

/** Writes a secret whole, readable by its owner only. */
export async function writeSecret(path: string, secret: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.tmp`, `${secret}\n`, { mode: 0o600 });
  await chmod(`${path}.tmp`, 0o600);
  await rename(`${path}.tmp`, path);
}

async function readSecret(path: string): Promise<string | undefined> {
  return (await readFile(path, 'utf8').catch(() => undefined))?.trim();
}

/** The token in `path` when it still works, else a new one. */
async function ensureToken(
  security: CloudNativeSecurity,
  path: string,
  role: 'admin' | 'node',
): Promise<void> {
  const known = await readSecret(path);
  if (
    known !== undefined &&
    (await security.authenticate({ token: known }).then(
      () => true,
      () => false,
    ))
  )
    return;
  const type = role === 'node' ? 'node' : 'service';
  const { token } = await security.tokens.createApiToken({
    principal: { id: `local-${role}`, type, roles: [role] },
    description: `${role} of this machine`,
  });
  await writeSecret(path, token);
}

/**
 * Makes what this machine's own processes need: the node's token, the local administrator's (whoever may read the
 * platform's files owns the platform anyway), and at the very first start the first administrator's password, which the
 * starter shows once and removes.
 */
export async function ensureLocalSecrets(security: CloudNativeSecurity, runDirectory: string): Promise<void> {
  const first = await security.bootstrap();
  if (first !== undefined) await writeSecret(join(runDirectory, 'first-admin.json'), JSON.stringify(first));
  await ensureToken(security, join(runDirectory, 'node.token'), 'node');
  await ensureToken(security, join(runDirectory, 'admin.token'), 'admin');
}

/** The secret that storage nodes and their clients share; made at first use. */
export async function ensureStorageToken(path: string): Promise<string> {
  const known = await readSecret(path);
  if (known !== undefined && known !== '') return known;
  const token = randomBytes(SECRET_BYTES).toString('base64url');
  await writeSecret(path, token);
  return token;
}
