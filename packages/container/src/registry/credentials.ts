// Who we are to a registry: given credentials, else those of Docker's config.json and its credential helpers.

import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { ContainerError, errnoOf } from '../errors.ts';
import { run } from '../system/command.ts';

/** What proves who we are. */
export type RegistryCredentials =
  | { readonly username: string; readonly password: string }
  /** An OAuth2 refresh token, as `docker login` keeps it for some registries. */
  | { readonly identityToken: string }
  /** Sent as it is in `Authorization: Bearer`. */
  | { readonly bearerToken: string };

/** Options of the look-up. */
export interface CredentialOptions {
  /** Credentials by registry name (`registry.example:5000`, `docker.io`); they go before those of the file. */
  readonly credentials?: Readonly<Record<string, RegistryCredentials>>;
  /** Path of Docker's configuration, or false to read none. Default `$DOCKER_CONFIG/config.json`, `~/.docker/config.json`. */
  readonly dockerConfig?: string | false;
}

const optional = z.string().optional();
const schema = z.object({
  auths: z
    .record(
      z.string(),
      z.object({
        auth: optional,
        username: optional,
        password: optional,
        identitytoken: optional,
        registrytoken: optional,
      }),
    )
    .nullish(),
  credHelpers: z.record(z.string(), z.string()).nullish(),
  credsStore: optional,
});
type DockerConfig = z.infer<typeof schema>;
type AuthEntry = NonNullable<DockerConfig['auths']>[string];

const helperAnswer = z.object({ Username: z.string(), Secret: z.string() });
// The name becomes part of a program's name; anything else could run another program.
const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const HELPER_TIMEOUT_MS = 30_000;
// The user name by which a helper says that the secret is an identity token.
const TOKEN_USER = '<token>';
const DOCKER_HUB_KEYS = [
  'https://index.docker.io/v1/',
  'index.docker.io',
  'docker.io',
  'registry-1.docker.io',
];

/**
 * Credentials for a registry; undefined when there are none, which means anonymous. Throws `CREDENTIALS_INVALID` for a
 * file or helper that cannot be used: going on as nobody would only end in a confusing refusal.
 */
export async function findCredentials(
  registry: string,
  options: CredentialOptions,
): Promise<RegistryCredentials | undefined> {
  const keys = keysOf(registry);
  for (const key of keys) {
    const given = options.credentials?.[key];
    if (given !== undefined) return given;
  }
  if (options.dockerConfig === false) return undefined;
  const path = options.dockerConfig ?? defaultPath();
  const config = await readConfig(path);
  if (config === undefined) return undefined;
  // Docker's order: a helper for this registry, the store for all, the file itself.
  for (const key of keys) {
    const helper = config.credHelpers?.[key];
    if (helper !== undefined) return await askHelper(helper, key);
  }
  for (const [name, entry] of Object.entries(config.auths ?? {})) {
    if (!keys.includes(hostOf(name)) && !keys.includes(name)) continue;
    const found = credentialsOf(entry, path, name);
    if (found !== undefined) return found;
  }
  if (config.credsStore === undefined || config.credsStore === '') return undefined;
  return await askHelper(config.credsStore, keys[0] ?? registry);
}

function defaultPath(): string {
  const directory = process.env.DOCKER_CONFIG;
  return join(
    directory === undefined || directory === '' ? join(homedir(), '.docker') : directory,
    'config.json',
  );
}

function keysOf(registry: string): string[] {
  return DOCKER_HUB_KEYS.includes(registry) ? DOCKER_HUB_KEYS : [registry];
}

/** Entries are written as host, as URL, or as URL with a path. */
function hostOf(key: string): string {
  return key.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
}

async function readConfig(path: string): Promise<DockerConfig | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return undefined;
    throw invalid(`cannot read ${path}`, cause);
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw invalid(`cannot use ${path}: it is not a Docker configuration`, cause);
  }
}

function credentialsOf(entry: AuthEntry, path: string, name: string): RegistryCredentials | undefined {
  if (entry.registrytoken) return { bearerToken: entry.registrytoken };
  if (entry.identitytoken) return { identityToken: entry.identitytoken };
  if (entry.auth) {
    const text = Buffer.from(entry.auth, 'base64').toString('utf8');
    const colon = text.indexOf(':');
    // Docker pads some entries with zero bytes.
    const password = text.slice(colon + 1).replace(/\0+$/, '');
    if (colon > 0) return { username: text.slice(0, colon), password };
    throw invalid(`cannot use ${path}: the "auth" of ${name} is not base64 of user:password`);
  }
  if (entry.username) return { username: entry.username, password: entry.password ?? '' };
  return undefined;
}

async function askHelper(helper: string, key: string): Promise<RegistryCredentials | undefined> {
  if (!HELPER_NAME.test(helper)) throw invalid(`"${helper}" is not the name of a credential helper`);
  const program = `docker-credential-${helper}`;
  const env: Record<string, string> = {};
  // Helpers need their user's HOME, session bus and the like; they are the user's own programs.
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) env[name] = value;
  const { exitCode, stdout, stderr } = await run(program, ['get'], {
    input: key,
    env,
    timeoutMs: HELPER_TIMEOUT_MS,
  }).catch((cause: unknown) => {
    throw invalid(`cannot run the credential helper ${program}`, cause);
  });
  if (exitCode !== 0) {
    // The protocol has no code for "none"; every helper says this sentence.
    if (/credentials not found/i.test(stdout + stderr)) return undefined;
    throw invalid(`the credential helper ${program} failed: ${(stderr || stdout).trim().slice(0, 300)}`);
  }
  let json: unknown;
  try {
    json = JSON.parse(stdout);
  } catch (cause) {
    throw invalid(`the credential helper ${program} did not answer in JSON`, cause);
  }
  const answer = helperAnswer.safeParse(json);
  if (!answer.success) throw invalid(`the credential helper ${program} answered without Username and Secret`);
  const { Username, Secret } = answer.data;
  return Username === TOKEN_USER ? { identityToken: Secret } : { username: Username, password: Secret };
}

function invalid(message: string, cause?: unknown): ContainerError {
  return new ContainerError('CREDENTIALS_INVALID', message, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'mend the file (docker login writes it), or pass credentials to RegistryClient',
  });
}
