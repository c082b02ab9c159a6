// What a Docker Engine can do, asked of the engine.

import { errorMessage, isHeptadError, type RuntimeCapabilities, type RuntimeProbe } from '@heptad/core';
import type { DockerConnection } from './connection.ts';
import { type DockerInfo, parseInfo } from './schema.ts';

/** What the engine can do. */
export async function capabilitiesOf(
  connection: DockerConnection,
  defaultNetwork: string,
): Promise<RuntimeCapabilities> {
  return capabilities(await askInfo(connection), defaultNetwork);
}

/** Asks the engine. A daemon that does not answer is a reason, not an error. */
export async function probeDocker(
  connection: DockerConnection,
  defaultNetwork: string,
): Promise<RuntimeProbe> {
  try {
    const api = await connection.apiVersion();
    const info = await askInfo(connection);
    const able = capabilities(info, defaultNetwork);
    const missing = able.limits ? [] : ['the kernel lacks cgroup limits that Docker asks for'];
    const version = `${info.ServerVersion} (API ${api})`;
    return { ok: true, version, capabilities: able, reasons: [...missing, ...(info.Warnings ?? [])] };
  } catch (error) {
    const hint = isHeptadError(error) && error.hint !== undefined ? `: ${error.hint}` : '';
    return {
      ok: false,
      capabilities: capabilities(undefined, defaultNetwork),
      reasons: [`${errorMessage(error)}${hint}`],
    };
  }
}

/** The network of containers that name none: `bridge`, unless the daemon runs without it. */
export async function standardNetwork(connection: DockerConnection): Promise<string> {
  try {
    await connection.json({ method: 'GET', path: '/networks/bridge', doing: 'look for the bridge network' });
    return 'bridge';
  } catch (error) {
    if (isHeptadError(error, 'NETWORK_NOT_FOUND')) return 'none';
    throw error;
  }
}

async function askInfo(connection: DockerConnection): Promise<DockerInfo> {
  return parseInfo(
    await connection.json({ method: 'GET', path: '/info', doing: 'ask Docker what it can do' }),
  );
}

function capabilities(info: DockerInfo | undefined, defaultNetwork: string): RuntimeCapabilities {
  const limits = info?.MemoryLimit === true && info.PidsLimit && info.CpuCfsQuota;
  return {
    isolation: 'container',
    pause: true,
    exec: true,
    limits,
    networks: defaultNetwork !== 'none',
    images: true,
    attach: true,
    // The engine closes an open input with its first client, or never: it cannot be left open for the next and be ended.
    stdin: false,
    tty: true,
    update: limits,
    mounts: true,
    copy: true,
    diff: true,
    commit: true,
    top: true,
    devices: true,
    // The engine remaps users for all containers or for none (userns-remap).
    userNamespaces: false,
    init: info?.InitBinary !== undefined && info.InitBinary !== '',
  };
}
