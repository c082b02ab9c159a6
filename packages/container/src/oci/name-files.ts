// The files by which a container resolves names: /etc/hosts, /etc/resolv.conf, /etc/hostname.

import { open, readFile, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { DnsOptions } from '@heptad/core';
import type { BindMount } from './generate-spec.ts';

/** What /etc/hosts says. */
export interface HostsContent {
  readonly hostname: string;
  readonly name: string;
  readonly address?: string | undefined;
  readonly hosts: Readonly<Record<string, string>>;
  /** Others on its networks: found by name even when nobody answers DNS. */
  readonly peers?: readonly { readonly address: string; readonly names: readonly string[] }[];
}

/** What /etc/resolv.conf is made of. */
export interface ResolverContent {
  /** The name server of the container's network. */
  readonly nameServer?: string | undefined;
  readonly dns?: DnsOptions | undefined;
  readonly sharesHostNetwork: boolean;
}

// The C library asks no more than three.
const MAX_SERVERS = 3;

/** The text of /etc/hosts. */
export function hostsText(content: HostsContent): string {
  const names = [...new Set([content.hostname, content.name])].join(' ');
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    ...(content.address === undefined ? [`127.0.1.1\t${names}`] : [`${content.address}\t${names}`]),
    ...Object.entries(content.hosts).map(([name, address]) => `${address}\t${name}`),
    ...(content.peers ?? []).map(({ address, names: theirs }) => `${address}\t${theirs.join(' ')}`),
    '',
  ].join('\n');
}

/**
 * Rewrites a file that is bind-mounted into a container. Its inode must stay, so it cannot be replaced by a rename: the
 * new text is written over the old and the file cut afterwards, so that a reader never sees it empty.
 */
export async function rewriteInPlace(path: string, text: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const bytes = Buffer.from(text);
    await file.write(bytes, 0, bytes.length, 0);
    await file.truncate(bytes.length);
  } finally {
    await file.close();
  }
}

/**
 * resolv.conf for a container: the network's server first, then the spec's or the host's, without those that only the host
 * can reach. The latter answer when nobody listens at the network's own.
 */
export function resolvText(host: string, content: ResolverContent): string {
  const { dns, nameServer } = content;
  if (content.sharesHostNetwork && dns === undefined) return host;
  const lines = host.split('\n');
  const values = (keyword: string): string[] =>
    lines.flatMap((line) => {
      const [word, ...rest] = line.trim().split(/\s+/);
      return word === keyword ? rest : [];
    });
  const fallback = values('nameserver').filter((server) => content.sharesHostNetwork || !isLoopback(server));
  const servers = [...(nameServer === undefined ? [] : [nameServer]), ...(dns?.servers ?? fallback)];
  const search = dns?.search ?? values('search');
  const options = dns?.options ?? values('options');
  return [
    ...servers.slice(0, MAX_SERVERS).map((server) => `nameserver ${server}`),
    ...(search.length === 0 ? [] : [`search ${search.join(' ')}`]),
    ...(options.length === 0 ? [] : [`options ${options.join(' ')}`]),
    '',
  ].join('\n');
}

function isLoopback(address: string): boolean {
  return isIP(address) === 4 ? address.startsWith('127.') : address === '::1';
}

/** Writes hosts, resolv.conf and hostname into `directory`; returns their mounts. */
export async function writeIdentityFiles(
  directory: string,
  content: HostsContent,
  resolver: ResolverContent,
): Promise<BindMount[]> {
  const host = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  const files = {
    hosts: hostsText(content),
    'resolv.conf': resolvText(host, resolver),
    hostname: `${content.hostname}\n`,
  };
  await Promise.all(
    Object.entries(files).map(([name, text]) => writeFile(join(directory, name), text, { mode: 0o644 })),
  );
  return identityMounts(directory);
}

/** The mounts of the three files in `directory`: a container's own, or that of the one whose network it shares. */
export function identityMounts(directory: string): BindMount[] {
  return ['hosts', 'resolv.conf', 'hostname'].map((name) => ({
    source: join(directory, name),
    target: `/etc/${name}`,
    readOnly: true,
  }));
}
