// Running nft, in this network namespace or another one.

import { spawn } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { HeptadError } from '@heptad/core';

/** A network namespace by path and inode: a path can be reused after its namespace died, an inode cannot while it lives. */
export interface NamespaceRef {
  readonly path: string;
  readonly inode: number;
}

/** The namespace behind a path; undefined when the path leads nowhere (any more). */
export async function namespaceAt(path: string): Promise<NamespaceRef | undefined> {
  try {
    return { path, inode: (await stat(path)).ino };
  } catch {
    return undefined;
  }
}

/** The command line that runs `command` inside a namespace; in our own, the command itself. */
export async function insideNamespace(
  namespace: NamespaceRef,
  command: readonly string[],
): Promise<readonly string[]> {
  const own = await namespaceAt('/proc/self/ns/net');
  return own?.inode === namespace.inode ? command : ['nsenter', `--net=${namespace.path}`, '--', ...command];
}

/** Feeds a script to nft. Errors: `NFT_FAILED` with what nft said; `NFT_NOT_FOUND` when it is not installed. */
export async function runNft(script: string, namespace?: NamespaceRef): Promise<void> {
  const command =
    namespace === undefined ? ['nft', '-f', '-'] : await insideNamespace(namespace, ['nft', '-f', '-']);
  const [program = 'nft', ...args] = command;
  await new Promise<void>((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'], env: systemPath() });
    let said = '';
    child.stderr.on('data', (chunk: Uint8Array) => {
      said += Buffer.from(chunk).toString();
    });
    child.on('error', (cause) => reject(missing(program, cause)));
    child.on('close', (code) => {
      if (code === 0) return resolve();
      reject(
        new HeptadError('NFT_FAILED', `cannot change packet rules: nft exited with ${code}: ${said.trim()}`, {
          hint: 'network faults need root and a kernel with nftables NAT',
        }),
      );
    });
    child.stdin.on('error', () => {});
    child.stdin.end(script);
  });
}

function missing(program: string, cause: unknown): HeptadError<'NFT_NOT_FOUND'> {
  return new HeptadError('NFT_NOT_FOUND', `cannot change packet rules: ${program} could not be started`, {
    cause,
    hint: 'install the packages nftables and util-linux',
  });
}

/** The environment with the system directories on the PATH: a login shell of an unprivileged user has no /usr/sbin. */
export function systemPath(): NodeJS.ProcessEnv {
  const { PATH = '' } = process.env;
  return { ...process.env, PATH: `${PATH}:/usr/sbin:/sbin:/usr/bin:/bin` };
}

/** When a process began, in clock ticks since boot: with the pid it names a process for ever. Undefined: no such process. */
export async function processStart(pid: number): Promise<string | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    // A zombie has ended; only its parent has not looked yet.
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
