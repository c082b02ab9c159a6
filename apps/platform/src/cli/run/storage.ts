// storage nodes, status, put, get, ls, rm, repair.

import { readFile, writeFile } from 'node:fs/promises';
import { formatBytes, invalidArgument, type ObjectInfo } from '@heptad/core';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { printJson, printTable, say } from '../output.ts';
import { listAll } from './inspect.ts';

/** What `GET /api/v1/storage` answers. */
export interface StorageStatus {
  readonly nodes: readonly {
    id: string;
    address: string;
    state: string;
    usedBytes: number;
    capacityBytes: number;
    objects: number;
  }[];
  readonly replicationFactor: number;
  readonly partitions: { total: number; underReplicated: number };
  readonly message: string;
}

function parseObject(text: string): { bucket: string; key: string } {
  const slash = text.indexOf('/');
  if (slash < 1 || slash === text.length - 1)
    throw invalidArgument(`"${text}" is no object`, 'give BUCKET/KEY, such as reports/2026/may.pdf');
  return { bucket: text.slice(0, slash), key: text.slice(slash + 1) };
}

function pathOf(text: string): string {
  const { bucket, key } = parseObject(text);
  return `/api/v1/storage/${encodeURIComponent(bucket)}/${key.split('/').map(encodeURIComponent).join('/')}`;
}

/** `heptad storage nodes`. */
export async function nodes(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const status = await client.json<StorageStatus>('GET', '/api/v1/storage');
  if (json) return printJson(status.nodes);
  printTable(
    ['ID', 'STATE', 'ADDRESS', 'USED', 'CAPACITY', 'OBJECTS'],
    status.nodes.map((node) => [
      node.id,
      node.state,
      node.address,
      formatBytes(node.usedBytes),
      formatBytes(node.capacityBytes),
      String(node.objects),
    ]),
  );
}

/** `heptad storage status`. */
export async function status(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const answer = await client.json<StorageStatus>('GET', '/api/v1/storage');
  if (json) return printJson(answer);
  process.stdout.write(`${answer.message}\n`);
}

/** `heptad storage put`. */
export async function put(object: string, file: string | undefined, command: Command): Promise<void> {
  const { client, json, dryRun } = contextOf(command);
  const body = file === undefined ? await readStdin() : await readFile(file);
  if (dryRun) return say(`would store ${formatBytes(body.byteLength)} as ${object}`);
  const response = await client.raw('PUT', pathOf(object), {
    body,
    headers: { 'content-type': 'application/octet-stream' },
  });
  const info = (await response.body.json()) as ObjectInfo;
  if (json) printJson(info);
  else say(`stored ${formatBytes(info.sizeBytes)} as ${object} (sha256 ${info.sha256.slice(0, 12)}…)`);
}

async function readStdin(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** `heptad storage get`. */
export async function get(object: string, file: string | undefined, command: Command): Promise<void> {
  const { client } = contextOf(command);
  const response = await client.raw('GET', pathOf(object));
  const body = Buffer.from(await response.body.arrayBuffer());
  if (file === undefined) process.stdout.write(body);
  else {
    await writeFile(file, body);
    say(`wrote ${formatBytes(body.byteLength)} to ${file}`);
  }
}

/** `heptad storage ls`. */
export async function list(bucket: string, options: { prefix?: string }, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const query = options.prefix === undefined ? '' : `?prefix=${encodeURIComponent(options.prefix)}`;
  const items = await listAll<ObjectInfo>(client, `/api/v1/storage/${encodeURIComponent(bucket)}${query}`);
  if (json) return printJson(items);
  printTable(
    ['KEY', 'SIZE', 'MODIFIED', 'SHA-256'],
    items.map((item) => [
      item.key,
      formatBytes(item.sizeBytes),
      new Date(item.lastModified).toISOString(),
      item.sha256.slice(0, 16),
    ]),
  );
}

/** `heptad storage rm`. */
export async function remove(object: string, command: Command): Promise<void> {
  const { client, dryRun } = contextOf(command);
  if (dryRun) {
    await client.raw('HEAD', pathOf(object));
    return say(`would delete ${object}`);
  }
  await client.raw('DELETE', pathOf(object));
  say(`deleted ${object}`);
}

/** `heptad storage repair`. */
export async function repair(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  say('comparing all replicas…');
  const result = await client.json<{ checked: number; repaired: number; message: string }>(
    'POST',
    '/api/v1/storage/repair',
  );
  if (json) printJson(result);
  else process.stdout.write(`${result.message}\n`);
}
