// `heptad engine serve`: the Docker-compatible API in front of an engine of its own.

import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ContainerEngine } from '@heptad/container';
import { DockerApiServer, type DockerApiServerOptions } from '@heptad/container/docker-api';
import { invalidArgument } from '@heptad/core';
import { configFromEnvironment, platformPaths } from '../../config.ts';
import { runUntilSignal } from '../../supervise/shutdown.ts';
import { say } from '../output.ts';

/** Flags of `heptad engine serve`. */
interface ServeOptions {
  readonly dockerSocket?: string;
  readonly group?: string;
  readonly tcp?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly engineHome?: string;
  readonly bridge: string;
  readonly subnet: string;
}

/** Runs `heptad engine serve` until a signal. Containers run on afterwards, and are found again. */
export async function serve(options: ServeOptions): Promise<void> {
  await runUntilSignal(async () => {
    const config = configFromEnvironment();
    const paths = platformPaths(config.home);
    const socketPath = options.dockerSocket ?? process.env.HEPTAD_DOCKER_SOCKET;
    const tcp = options.tcp === undefined ? undefined : await tcpOf(options.tcp, options);
    if (socketPath === undefined && tcp === undefined) {
      throw invalidArgument(
        'heptad engine serve: nothing to listen on was given',
        'for example --docker-socket /run/heptad/docker.sock',
      );
    }
    if (socketPath !== undefined) await mkdir(dirname(socketPath), { recursive: true });
    const group = options.group ?? process.env.HEPTAD_DOCKER_GROUP;
    // A home and a bridge of its own: the platform's agent owns the platform's. Images are shared.
    const engine = await ContainerEngine.open({
      home: options.engineHome ?? join(paths.engine, 'docker'),
      imagesHome: paths.images,
      runtime: config.runtime,
      network: { bridgeName: options.bridge, subnet: options.subnet },
    });
    try {
      const server = await DockerApiServer.start({
        engine,
        ...(socketPath === undefined ? {} : { socketPath }),
        ...(group === undefined || group === '' ? {} : { group }),
        ...(tcp === undefined ? {} : { tcp }),
      });
      for (const reason of (await engine.probe()).reasons) say(reason);
      for (const address of server.addresses) say(`Docker Engine API on ${address}`);
      if (socketPath !== undefined) say(`try: docker -H unix://${socketPath} ps`);
      return disposal(server, engine);
    } catch (error) {
      await engine.close();
      throw error;
    }
  });
}

function disposal(server: DockerApiServer, engine: ContainerEngine): AsyncDisposable {
  return {
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await engine.close();
    },
  };
}

async function tcpOf(
  address: string,
  options: ServeOptions,
): Promise<NonNullable<DockerApiServerOptions['tcp']>> {
  const match = /^(.*):(\d{1,5})$/.exec(address);
  if (match === null)
    throw invalidArgument(`--tcp "${address}" is no HOST:PORT`, 'for example --tcp 127.0.0.1:2376');
  const { tlsCert, tlsKey, tlsCa } = options;
  if (tlsCert === undefined || tlsKey === undefined || tlsCa === undefined) {
    throw invalidArgument(
      '--tcp without certificates is refused: whoever may talk to this API is root on this machine',
      'give --tls-cert, --tls-key and --tls-ca; only clients with a certificate of that authority are let in',
    );
  }
  const [cert, key, ca] = await Promise.all([readFile(tlsCert), readFile(tlsKey), readFile(tlsCa)]);
  return { host: match[1] ?? '', port: Number(match[2]), tls: { cert, key, ca } };
}
