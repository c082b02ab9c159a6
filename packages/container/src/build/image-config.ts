// The config of a built image: what its base says, changed by what the application needs.

import type { Digest } from '../image/digest.ts';
import { hostArchitecture } from '../image/manifest.ts';
import { APP_DIRECTORY } from './app-files.ts';
import type { BaseImage } from './base-image.ts';
import type { EntryPoint } from './entry-point.ts';
import { NODE_PATH } from './runtime-layer.ts';

/** What a config is made from. */
export interface ImageConfigInput {
  readonly base: BaseImage | undefined;
  readonly entry: EntryPoint;
  /** ISO 8601. */
  readonly created: string;
  /** The layers over those of the base. */
  readonly layers: readonly { readonly diffId: Digest; readonly because: string }[];
  readonly labels: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string>> | undefined;
  readonly ports: readonly number[] | undefined;
  readonly user: string | undefined;
}

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Any base lets a user by number run, whether it has a name there or not. */
const BASE_USER = '1000:1000';

/** The config as it is stored. Keys are in a fixed order, so that equal inputs give equal bytes. */
export function imageConfig(input: ImageConfigInput): unknown {
  const { base, entry, created } = input;
  const inherited = base?.config ?? {};
  const node = base?.node ?? NODE_PATH;
  const environment = {
    PATH: DEFAULT_PATH,
    ...base?.environment,
    NODE_ENV: base?.environment.NODE_ENV ?? 'production',
    ...entry.environment,
    ...input.environment,
  };
  // What a start script runs is often found there, as it is when a package manager runs it.
  if (entry.kind === 'shell') environment.PATH = `${APP_DIRECTORY}/node_modules/.bin:${environment.PATH}`;
  const ports = {
    ...recordOf(inherited.ExposedPorts),
    ...Object.fromEntries((input.ports ?? []).map((port) => [`${port}/tcp`, {}])),
  };
  const labels = { ...recordOf(inherited.Labels), ...input.labels };
  return {
    architecture: hostArchitecture(),
    os: 'linux',
    created,
    config: {
      ...inherited,
      User: input.user ?? defaultUser(base),
      Env: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
      // "exec" makes the program itself receive the signals, and not a shell that passes nothing on.
      Entrypoint: entry.kind === 'node' ? [node] : ['/bin/sh', '-c'],
      Cmd: entry.kind === 'node' ? [...entry.arguments] : [execOf(entry.arguments[0] ?? '')],
      WorkingDir: APP_DIRECTORY,
      ...(Object.keys(ports).length === 0 ? {} : { ExposedPorts: ports }),
      ...(Object.keys(labels).length === 0 ? {} : { Labels: labels }),
    },
    rootfs: {
      type: 'layers',
      diff_ids: [...(base?.diffIds ?? []), ...input.layers.map(({ diffId }) => diffId)],
    },
    history: [
      ...(base?.history ?? []),
      ...input.layers.map(({ because }) => ({ created, created_by: `heptad: ${because}` })),
    ],
  };
}

function defaultUser(base: BaseImage | undefined): string {
  if (base === undefined) return 'node';
  return /^(|root|0)(:.*)?$/.test(base.user) ? BASE_USER : base.user;
}

/** A simple command replaces its shell; several commands need it to stay. */
function execOf(script: string): string {
  return /[&|;\n(){}]|^\s*(?:if|for|while|case|exec|[A-Za-z_]\w*=)\b/.test(script)
    ? script
    : `exec ${script}`;
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}
