// Makes a container as a client of Docker asked for it: mounts, ports and network settled, the engine asked, the wish kept.

import type { ContainerId } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ApiContext } from './context.ts';
import type { CreateRequest } from './create-request.ts';
import { apiEvent } from './events.ts';
import { planMounts } from './mounts-of-request.ts';
import { inventName } from './names.ts';
import type { ApiNetwork } from './networks.ts';
import { planPorts } from './ports-of-request.ts';
import { refuseUnsupported } from './refused-settings.ts';
import { specOfRequest } from './spec-of-request.ts';

/** See `POST /containers/create`. Leaves nothing behind when it fails. */
export async function createFromRequest(
  context: ApiContext,
  request: CreateRequest,
  wishedName: string | undefined,
): Promise<{ id: ContainerId; warnings: string[] }> {
  const host = request.HostConfig ?? {};
  refuseUnsupported(host);
  const { id: imageId, image } = await context.images.find(request.Image);
  const imageConfig = image.config.config;
  const network = networkOf(context, request);
  const { mounts, anonymous } = await planMounts(
    request,
    Object.keys(imageConfig.Volumes ?? {}),
    context.volumes,
  );
  try {
    const published =
      network?.driver === 'host' || network?.driver === 'null'
        ? []
        : await planPorts(request, Object.keys(imageConfig.ExposedPorts ?? {}));
    const name = wishedName ?? (await freeName(context));
    const spec = specOfRequest(request, {
      name,
      // By its digest, so that a name given to another image meanwhile changes nothing.
      image: image.digest,
      network: network?.name,
      networkAliases: aliasesOf(request),
      mounts,
      ports: published,
      gateway: network?.gateway,
    });
    using _expected = context.settings.expect(name, request.Image);
    const id = await context.runtime.create(spec);
    const { HostConfig, NetworkingConfig: _networking, ...config } = request;
    await context.settings.set(id, {
      config: { ...config, ExposedPorts: { ...imageConfig.ExposedPorts, ...request.ExposedPorts } },
      hostConfig: { ...HostConfig },
      autoRemove: host.AutoRemove ?? false,
      stopTimeout: request.StopTimeout ?? undefined,
      anonymousVolumes: anonymous,
      imageId,
    });
    return { id, warnings: [] };
  } catch (error) {
    for (const volume of anonymous) await context.volumes.remove(volume).catch(() => undefined);
    throw error;
  } finally {
    for (const volume of anonymous) {
      context.events.emit(apiEvent('volume', 'create', volume, context.clock.now(), { driver: 'local' }));
    }
  }
}

function networkOf(context: ApiContext, request: CreateRequest): ApiNetwork | undefined {
  if (request.NetworkDisabled === true) return context.networks.find('none');
  const mode = request.HostConfig?.NetworkMode ?? '';
  const [named] = Object.keys(request.NetworkingConfig?.EndpointsConfig ?? {});
  const wanted = mode === '' || mode === 'default' ? (named ?? 'default') : mode;
  if (wanted === 'default') return context.networks.byDefault();
  return context.networks.find(wanted);
}

function aliasesOf(request: CreateRequest): string[] {
  const endpoints = Object.values(request.NetworkingConfig?.EndpointsConfig ?? {});
  if (endpoints.some((endpoint) => endpoint?.IPAMConfig?.IPv4Address || endpoint?.IPAMConfig?.IPv6Address)) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      'cannot create the container: fixed addresses are not supported',
      {
        hint: 'let others find it by its name',
      },
    );
  }
  if (endpoints.length > 1) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      'Container cannot be connected to several networks at creation',
      {
        hint: 'connect it to the others afterwards',
      },
    );
  }
  return [...new Set(endpoints.flatMap((endpoint) => endpoint?.Aliases ?? []))];
}

async function freeName(context: ApiContext): Promise<string> {
  const names = new Set((await context.runtime.list()).map(({ name }) => name));
  return inventName(context.random, (name) => names.has(name));
}
