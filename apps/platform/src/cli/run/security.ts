// security login, user, role, key, token, audit.

import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { invalidArgument } from '@heptad/core';
import type { Command } from 'commander';
import { contextOf, loginTokenPath } from '../context.ts';
import { EXIT, printJson, printTable, say } from '../output.ts';
import { listAll } from './inspect.ts';

async function readPassword(fromStdin: boolean | undefined): Promise<string> {
  if (fromStdin) {
    let text = '';
    for await (const chunk of process.stdin) text += String(chunk);
    return text.replace(/\r?\n$/, '');
  }
  if (!process.stdin.isTTY)
    throw invalidArgument(
      'login needs a password and there is no terminal to ask on',
      'pipe it in with --password-stdin',
    );
  // Typed characters are not echoed: the terminal's output goes nowhere while asking.
  const { Writable } = await import('node:stream');
  const muted = new Writable({ write: (_chunk, _encoding, done) => done() });
  process.stderr.write('password: ');
  const asking = createInterface({ input: process.stdin, output: muted, terminal: true });
  const answer = await asking.question('');
  asking.close();
  process.stderr.write('\n');
  return answer;
}

/** `heptad security login`. */
export async function login(
  options: { user: string; passwordStdin?: boolean },
  command: Command,
): Promise<void> {
  const { client } = contextOf(command);
  const password = await readPassword(options.passwordStdin);
  const answer = await client.json<{ accessToken: string; expiresAt: number }>('POST', '/api/v1/auth/login', {
    username: options.user,
    password,
  });
  const path = loginTokenPath();
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(path, `${answer.accessToken}\n`, { mode: 0o600 });
  say(`logged in as ${options.user} until ${new Date(answer.expiresAt).toISOString()}`);
}

/** `heptad security user ls`. */
export async function users(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const items = await listAll<{ name: string; roles: string[] }>(client, '/api/v1/users');
  if (json) return printJson(items);
  printTable(
    ['NAME', 'ROLES'],
    items.map((user) => [user.name, user.roles.join(', ')]),
  );
}

/** `heptad security user add`. */
export async function addUser(name: string, options: { role: string }, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const answer = await client.json<{ name: string; password: string }>('POST', '/api/v1/users', {
    name,
    roles: [options.role],
  });
  if (json) return printJson(answer);
  say(`added ${name}; the password is shown only now:`);
  process.stdout.write(`${answer.password}\n`);
}

/** `heptad security user reset-password`. */
export async function resetPassword(name: string, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const answer = await client.json<{ password: string }>(
    'POST',
    `/api/v1/users/${encodeURIComponent(name)}/password`,
  );
  if (json) return printJson(answer);
  say(`the new password of ${name} is shown only now:`);
  process.stdout.write(`${answer.password}\n`);
}

/** `heptad security user rm`. */
export async function removeUser(name: string, command: Command): Promise<void> {
  const { client } = contextOf(command);
  await client.raw('DELETE', `/api/v1/users/${encodeURIComponent(name)}`);
  say(`removed ${name}`);
}

/** `heptad security role`. */
export async function roles(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const { items } = await client.json<{
    items: { resource: string; role: string; actions: string[]; auditLevel: string }[];
  }>('GET', '/api/v1/roles');
  if (json) return printJson(items);
  printTable(
    ['RESOURCE', 'ROLE', 'MAY', 'AUDIT'],
    items.map((rule) => [rule.resource, rule.role, rule.actions.join(', '), rule.auditLevel]),
  );
}

/** `heptad security key ls`. */
export async function keys(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const { items } = await client.json<{
    items: { name: string; latestVersion: number; minDecryptionVersion: number }[];
  }>('GET', '/api/v1/keys');
  if (json) return printJson(items);
  printTable(
    ['NAME', 'VERSION', 'OLDEST USABLE'],
    items.map((key) => [key.name, String(key.latestVersion), String(key.minDecryptionVersion)]),
  );
}

/** `heptad security key create`. */
export async function createKey(name: string, command: Command): Promise<void> {
  await contextOf(command).client.json('POST', '/api/v1/keys', { name });
  say(`created key ${name}`);
}

/** `heptad security key rotate`. */
export async function rotateKey(name: string, command: Command): Promise<void> {
  const answer = await contextOf(command).client.json<{ version: number }>(
    'POST',
    `/api/v1/keys/${encodeURIComponent(name)}/rotate`,
    {},
  );
  say(`key ${name} now encrypts with version ${answer.version}`);
}

/** `heptad security token`. */
export async function token(options: { role: string; name: string }, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const answer = await client.json<{ token: string }>('POST', '/api/v1/auth/token', {
    name: options.name,
    roles: [options.role],
  });
  if (json) return printJson(answer);
  process.stdout.write(`${answer.token}\n`);
}

/** `heptad security audit verify`: exit code 1 when it is not intact. */
export async function verifyAudit(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const answer = await client.json<{ intact: boolean; message: string }>('GET', '/api/v1/audit/verify');
  if (json) printJson(answer);
  else process.stdout.write(`${answer.message}\n`);
  if (!answer.intact) process.exitCode = EXIT.error;
}

/** `heptad security audit ls`. */
export async function auditLog(options: { limit: number }, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const { items } = await client.json<{ items: Record<string, unknown>[] }>(
    'GET',
    `/api/v1/audit?limit=${options.limit}`,
  );
  if (json) return printJson(items);
  for (const item of items) process.stdout.write(`${JSON.stringify(item)}\n`);
}
