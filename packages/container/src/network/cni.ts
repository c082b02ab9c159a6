// Invokes Container Network Interface plugins: environment and JSON in, JSON out, as the specification 1.0.0 says.

import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ContainerError, errnoOf } from '../errors.ts';
import { run, TOOL_PATH } from '../system/command.ts';

/** Directories where distributions put plugins: upstream, and Debian. */
export const CNI_DIRECTORIES: readonly string[] = ['/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni'];
/** Debian 12's plugins 1.1.1 speak up to this version. */
export const CNI_VERSION = '1.0.0';

/** A plugin's own settings. */
export interface PluginConfig {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
  readonly [key: string]: unknown;
}

/** A network: plugins that run one after the other. */
export interface NetworkConfig {
  readonly name: string;
  readonly plugins: readonly PluginConfig[];
}

/** One container's end of it. */
export interface CniAttachment {
  readonly containerId: string;
  readonly namespace: string;
  readonly interfaceName: string;
  /** Values for plugins that declare the capability, such as portMappings. */
  readonly runtime: Readonly<Record<string, unknown>>;
}

const resultSchema = z.looseObject({
  cniVersion: z.string().optional(),
  interfaces: z
    .array(z.looseObject({ name: z.string(), sandbox: z.string().optional(), mac: z.string().optional() }))
    .optional(),
  ips: z.array(z.looseObject({ address: z.string(), gateway: z.string().optional() })).optional(),
});
/** What ADD returns, and what the next plugin and DEL are given. */
export interface CniResult {
  readonly cniVersion?: string | undefined;
  readonly interfaces?:
    | readonly {
        readonly name: string;
        readonly sandbox?: string | undefined;
        readonly mac?: string | undefined;
      }[]
    | undefined;
  readonly ips?: readonly { readonly address: string; readonly gateway?: string | undefined }[] | undefined;
  readonly [key: string]: unknown;
}

const errorSchema = z.looseObject({ code: z.number(), msg: z.string(), details: z.string().optional() });
const PLUGIN_TIMEOUT_MS = 30_000;

/** The first directory that holds all of the plugins. Throws `RUNTIME_UNAVAILABLE` naming those missing. */
export async function findPlugins(
  types: readonly string[],
  directories: readonly string[] = CNI_DIRECTORIES,
): Promise<string> {
  let missing: string[] = [...types];
  for (const directory of directories) {
    const absent: string[] = [];
    for (const type of types) {
      const found = await access(join(directory, type)).then(
        () => true,
        (error: unknown) => errnoOf(error) !== 'ENOENT',
      );
      if (!found) absent.push(type);
    }
    if (absent.length === 0) return directory;
    if (absent.length <= missing.length) missing = absent;
  }
  throw new ContainerError(
    'RUNTIME_UNAVAILABLE',
    `CNI plugins ${missing.join(', ')} are not in ${directories.join(', ')}`,
    {
      hint: 'apt-get install containernetworking-plugins',
    },
  );
}

/** Runs ADD through the list; each plugin gets the result of the one before. */
export async function addNetwork(
  directory: string,
  config: NetworkConfig,
  attachment: CniAttachment,
): Promise<CniResult> {
  let previous: CniResult | undefined;
  for (const plugin of config.plugins) {
    const output = await invoke(directory, 'ADD', config, plugin, attachment, previous);
    const parsed = resultSchema.safeParse(JSON.parse(output));
    if (!parsed.success) throw failed('ADD', plugin, config, z.prettifyError(parsed.error));
    previous = parsed.data;
  }
  return previous ?? {};
}

/** Runs DEL through the list in reverse, every plugin whatever the others say; returns what went wrong. */
export async function deleteNetwork(
  directory: string,
  config: NetworkConfig,
  attachment: CniAttachment,
  result: CniResult | undefined,
): Promise<unknown[]> {
  const errors: unknown[] = [];
  for (const plugin of config.plugins.toReversed()) {
    await invoke(directory, 'DEL', config, plugin, attachment, result).catch((error: unknown) =>
      errors.push(error),
    );
  }
  return errors;
}

async function invoke(
  directory: string,
  command: 'ADD' | 'DEL',
  network: NetworkConfig,
  plugin: PluginConfig,
  attachment: CniAttachment,
  previous: CniResult | undefined,
): Promise<string> {
  const wanted = Object.entries(attachment.runtime).filter(([name]) => plugin.capabilities?.[name] === true);
  const config = {
    ...plugin,
    cniVersion: CNI_VERSION,
    name: network.name,
    ...(wanted.length === 0 ? {} : { runtimeConfig: Object.fromEntries(wanted) }),
    ...(previous === undefined ? {} : { prevResult: previous }),
  };
  const { exitCode, stdout, stderr } = await run(join(directory, plugin.type), [], {
    input: JSON.stringify(config),
    timeoutMs: PLUGIN_TIMEOUT_MS,
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: attachment.containerId,
      CNI_NETNS: attachment.namespace,
      CNI_IFNAME: attachment.interfaceName,
      CNI_PATH: directory,
      PATH: TOOL_PATH,
    },
  });
  if (exitCode === 0) return stdout;
  throw failed(command, plugin, network, pluginError(stdout) ?? stderr.trim());
}

function pluginError(stdout: string): string | undefined {
  try {
    const parsed = errorSchema.safeParse(JSON.parse(stdout));
    if (!parsed.success) return undefined;
    return [parsed.data.msg, parsed.data.details].filter(Boolean).join(': ');
  } catch {
    return undefined;
  }
}

function failed(command: string, plugin: PluginConfig, network: NetworkConfig, why: string): ContainerError {
  return new ContainerError(
    'NETWORK_FAILED',
    `CNI ${command} of plugin ${plugin.type} on network ${network.name} failed: ${why}`,
    {
      retryable: true,
      details: { plugin: plugin.type, network: network.name },
    },
  );
}
