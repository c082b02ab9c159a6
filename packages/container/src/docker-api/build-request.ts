// The query of a build, checked: what the engine's builders keep, and a refusal by name of what they cannot.

import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { hostPlatform, parsePlatform, platformRank } from '../image/platform.ts';
import type { ApiCall } from './call.ts';
import { familiarName } from './image-index.ts';

/** What a client wants built. */
export interface BuildRequest {
  /** `repository:tag`, any number of them. */
  readonly names: readonly string[];
  /** Path of the Dockerfile in the context; undefined when the client left it to us. */
  readonly dockerfile: string | undefined;
  readonly args: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly target: string | undefined;
  readonly noCache: boolean;
  /** Base images are fetched even when they are here. */
  readonly pull: boolean;
  /** Only the id is wanted. */
  readonly quiet: boolean;
}

// A build is never run without what was asked for it: each of these is refused while its value asks for anything.
const REFUSED: readonly { name: string; harmless: readonly string[]; why: string }[] = [
  { name: 'remote', harmless: [], why: 'fetching the context; send it as the body' },
  { name: 'networkmode', harmless: ['default', 'host'], why: 'steps run in the network of the machine' },
  { name: 'extrahosts', harmless: [], why: 'host names of its own' },
  { name: 'squash', harmless: ['0', 'false'], why: 'squashing layers' },
  { name: 'memory', harmless: ['0'], why: 'limits on steps' },
  { name: 'memswap', harmless: ['0'], why: 'limits on steps' },
  { name: 'cpushares', harmless: ['0'], why: 'limits on steps' },
  { name: 'cpusetcpus', harmless: [], why: 'limits on steps' },
  { name: 'cpusetmems', harmless: [], why: 'limits on steps' },
  { name: 'cpuperiod', harmless: ['0'], why: 'limits on steps' },
  { name: 'cpuquota', harmless: ['0'], why: 'limits on steps' },
  { name: 'cgroupparent', harmless: [], why: 'choosing the parent cgroup' },
  { name: 'shmsize', harmless: ['0'], why: 'a size of /dev/shm' },
  { name: 'ulimits', harmless: ['null', '[]'], why: 'limits on steps' },
  { name: 'securityopt', harmless: ['null', '[]'], why: 'security options' },
  { name: 'isolation', harmless: ['default'], why: 'this isolation' },
  { name: 'outputs', harmless: ['null', '[]'], why: 'other outputs than an image' },
  { name: 'version', harmless: ['1'], why: 'BuildKit; set DOCKER_BUILDKIT=0' },
];
// A value that is null names a variable that the client does not have itself.
const valuesSchema: z.ZodType<Record<string, string | null>> = z.record(z.string(), z.string().nullable());

/** Reads the query. Throws `INVALID_ARGUMENT`, `INVALID_REFERENCE`, `NOT_SUPPORTED` naming what cannot be kept. */
export function buildRequestOf(call: ApiCall): BuildRequest {
  for (const { name, harmless, why } of REFUSED) {
    const value = call.query.get(name) ?? '';
    if (value === '' || harmless.includes(value)) continue;
    throw new ContainerError('NOT_SUPPORTED', `cannot build: ${name}=${value} is not supported (${why})`);
  }
  requirePlatform(call.query.get('platform') ?? '');
  return {
    names: call.query
      .getAll('t')
      .filter((name) => name !== '')
      .map(nameOf),
    dockerfile: call.query.get('dockerfile') || undefined,
    args: valuesOf(call, 'buildargs'),
    labels: valuesOf(call, 'labels'),
    target: call.query.get('target') || undefined,
    noCache: call.flag('nocache'),
    pull: call.flag('pull'),
    quiet: call.flag('q'),
  };
}

function nameOf(text: string): string {
  const name = familiarName(text);
  if (name !== undefined && !text.includes('@')) return name;
  throw new ContainerError('INVALID_REFERENCE', `cannot build: invalid reference format: "${text}"`);
}

function valuesOf(call: ApiCall, name: string): Record<string, string> {
  let json: unknown;
  try {
    json = JSON.parse(call.query.get(name) || '{}');
  } catch (cause) {
    throw new ContainerError('INVALID_ARGUMENT', `cannot build: ${name} is not JSON`, { cause });
  }
  const parsed = valuesSchema.safeParse(json ?? {});
  if (!parsed.success)
    throw new ContainerError('INVALID_ARGUMENT', `cannot build: ${name} is no object of strings`);
  return Object.fromEntries(
    Object.entries(parsed.data).flatMap(([key, value]) => (value === null ? [] : [[key, value]])),
  );
}

function requirePlatform(text: string): void {
  if (text === '' || platformRank(hostPlatform(), parsePlatform(text)) !== undefined) return;
  throw new ContainerError('NOT_SUPPORTED', `cannot build: this machine cannot build for ${text}`, {
    hint: 'build on a machine of that platform, or leave platform out',
  });
}
