// What a platform that is one of several centres is told: the centres, which of them it is, and the secret they share.

import { readFile, stat } from 'node:fs/promises';
import { errorMessage, HeptadError, invalidArgument } from '@heptad/core';
import { Topology, type TopologyInput } from '@heptad/dr';
import { parse as parseYaml, YAMLParseError } from 'yaml';
import { z } from 'zod';

/** Where the settings are; see {@link PlatformConfig.centers}. */
export interface CenterFiles {
  /** YAML or JSON, the same at every centre. */
  readonly file: string;
  /** Name of this centre. */
  readonly self: string;
  readonly secretFile: string;
}

/** The settings of one centre. */
export interface CenterSettings {
  readonly self: string;
  readonly topology: Topology;
  /** Signs what centres say to each other, and seals the keys they share. */
  readonly secret: string;
  /** Centre -> base URL of its API, where the file names one. */
  readonly apis: ReadonlyMap<string, string>;
  /** Hand over by plan when a failure of this centre is predicted. */
  readonly switchOnPrediction: boolean;
}

/** As strong as the AES-256 key that is derived from it. */
const SECRET_BYTES_MIN = 32;
const PRIVATE_MODE_MASK = 0o077;

const fileSchema = z.looseObject({
  centers: z.array(z.looseObject({ name: z.string(), api: z.url().optional() })),
  switchOnPrediction: z.boolean().default(false),
});

/**
 * Reads and checks them. Errors: `INVALID_ARGUMENT` (unreadable or broken file, weak or readable secret), `INVALID_TOPOLOGY` with
 * every problem, `UNKNOWN_CENTER`.
 */
export async function readCenterSettings(files: CenterFiles): Promise<CenterSettings> {
  const parsed = fileSchema.safeParse(await parseFile(files.file));
  if (!parsed.success)
    throw invalidArgument(
      `cannot use the centres in ${files.file}: ${z.prettifyError(parsed.error)}`,
      'the guide "Disaster recovery" shows such a file',
    );
  const { switchOnPrediction, ...rest } = parsed.data;
  const apis = new Map<string, string>();
  const centers = rest.centers.map(({ api, ...center }) => {
    if (api !== undefined) apis.set(center.name, api.replace(/\/+$/, ''));
    return center;
  });
  // Topology checks every field of what is left, and says all that is wrong at once.
  const topology = new Topology({ ...rest, centers } as unknown as TopologyInput);
  topology.center(files.self);
  return { self: files.self, topology, secret: await readSecret(files.secretFile), apis, switchOnPrediction };
}

async function parseFile(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw invalidArgument(
      `cannot read the centres: ${errorMessage(error)}`,
      'HEPTAD_CENTERS (or --centers) names the file that lists them',
    );
  }
  try {
    return parseYaml(text);
  } catch (error) {
    const at = error instanceof YAMLParseError ? error.linePos?.[0] : undefined;
    const place = at === undefined ? path : `${path}:${at.line}:${at.col}`;
    throw invalidArgument(`${place}: ${errorMessage(error)}`, 'correct the file; nothing was started');
  }
}

async function readSecret(path: string): Promise<string> {
  const hint = `make one with: (umask 077; openssl rand -base64 32 > ${path}), and copy it to every centre`;
  let mode: number;
  let secret: string;
  try {
    mode = (await stat(path)).mode;
    secret = (await readFile(path, 'utf8')).trim();
  } catch (error) {
    throw new HeptadError('INVALID_ARGUMENT', `cannot read the centres' secret: ${errorMessage(error)}`, {
      cause: error,
      hint,
    });
  }
  if ((mode & PRIVATE_MODE_MASK) !== 0)
    throw invalidArgument(`the centres' secret ${path} can be read by others`, `chmod 600 ${path}`);
  if (Buffer.byteLength(secret) < SECRET_BYTES_MIN)
    throw invalidArgument(`the centres' secret ${path} is shorter than ${SECRET_BYTES_MIN} bytes`, hint);
  return secret;
}
