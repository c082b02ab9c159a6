// Listing, creating, inspecting and removing containers; prune.

import type { ContainerInfo } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { removeWithVolumes } from '../auto-removal.ts';
import type { ApiCall } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { createFromRequest } from '../create-container.ts';
import { createRequestSchema } from '../create-request.ts';
import { Filters } from '../filters.ts';
import { containerOf } from '../find-container.ts';
import { familiarName } from '../image-index.ts';
import { inspectedContainer, listedContainer, statusWord } from '../show-container.ts';

const LIST_FILTERS = [
  'ancestor',
  'before',
  'exited',
  'expose',
  'health',
  'id',
  'is-task',
  'isolation',
  'label',
  'name',
  'network',
  'publish',
  'since',
  'status',
  'volume',
];

/** `GET /containers/json` */
export async function listContainers(context: ApiContext, call: ApiCall): Promise<void> {
  const filters = Filters.parse(call.query.get('filters'), LIST_FILTERS);
  const infos = await context.runtime.list();
  const limit = call.number('limit');
  const newest = [...infos].sort((one, other) => other.createdAt - one.createdAt);
  // A filter by state, or a wish for the last n, means those that do not run too.
  const all =
    call.flag('all') || (limit ?? 0) > 0 || ['status', 'exited'].some((name) => filters.get(name).length > 0);
  const chosen = newest.filter((info) => (all || isUp(info)) && passes(context, info, filters, newest));
  call.send(
    200,
    chosen.slice(0, limit !== undefined && limit > 0 ? limit : undefined).map((info) => ({
      ...listedContainer(context, info),
      ...(call.flag('size') ? { SizeRw: 0, SizeRootFs: 0 } : {}),
    })),
  );
}

function isUp(info: ContainerInfo): boolean {
  return info.state === 'running' || info.state === 'paused' || info.restartAt !== undefined;
}

function passes(
  context: ApiContext,
  info: ContainerInfo,
  filters: Filters,
  all: readonly ContainerInfo[],
): boolean {
  const settings = context.settings.get(info.id);
  const image = String(settings?.config.Image ?? info.image);
  const created = (reference: string): number | undefined =>
    all.find(({ id, name }) => id.startsWith(reference) || name === reference)?.createdAt;
  const port = (key: string): boolean =>
    info.ports.some(
      (each) =>
        key === String(each.containerPort) ||
        key === `${each.containerPort}/${(each.protocol ?? 'TCP').toLowerCase()}`,
    );
  return (
    filters.labels(info.labels) &&
    filters.any('id', (id) => info.id.startsWith(id)) &&
    filters.any('name', (name) => nameMatches(info.name, name)) &&
    filters.any('status', (status) => statusWord(info) === status) &&
    filters.any('exited', (code) => info.state === 'stopped' && info.exit?.exitCode === Number(code)) &&
    filters.any('health', (health) => (info.health?.status ?? 'none') === health) &&
    filters.any(
      'ancestor',
      (ancestor) =>
        familiarName(image) === familiarName(ancestor) || settings?.imageId.includes(ancestor) === true,
    ) &&
    filters.any('volume', (volume) =>
      info.mounts.some(
        (mount) => mount.target === volume || (mount.type === 'volume' && mount.name === volume),
      ),
    ) &&
    filters.any('network', (network) => inNetwork(context, info, network)) &&
    filters.any('publish', port) &&
    filters.any('expose', port) &&
    filters.any('since', (reference) => info.createdAt > (created(reference) ?? Number.POSITIVE_INFINITY)) &&
    filters.any('before', (reference) => info.createdAt < (created(reference) ?? 0)) &&
    filters.any('is-task', (value) => value !== 'true')
  );
}

/** Docker's name filter is a regular expression on the name with or without its slash. */
function nameMatches(name: string, pattern: string): boolean {
  try {
    const expression = new RegExp(pattern);
    return expression.test(name) || expression.test(`/${name}`);
  } catch {
    return name.includes(pattern);
  }
}

function inNetwork(context: ApiContext, info: ContainerInfo, reference: string): boolean {
  return info.networks.some(({ name }) => {
    const network = context.networks.named(name);
    return network !== undefined && (network.name === reference || network.id.startsWith(reference));
  });
}

/** `POST /containers/create` */
export async function createContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const request = await call.json(createRequestSchema);
  const name = call.query.get('name')?.replace(/^\//, '') || undefined;
  const { id, warnings } = await createFromRequest(context, request, name);
  call.send(201, { Id: id, Warnings: warnings });
}

/** `GET /containers/{id}/json` */
export async function inspectContainer(context: ApiContext, call: ApiCall): Promise<void> {
  call.send(200, inspectedContainer(context, await containerOf(context, call)));
}

/** `DELETE /containers/{id}` */
export async function removeContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const { id } = await containerOf(context, call);
  await removeWithVolumes(context, id, { force: call.flag('force'), volumes: call.flag('v') });
  call.send(204);
}

/** `POST /containers/prune` */
export async function pruneContainers(context: ApiContext, call: ApiCall): Promise<void> {
  const filters = Filters.parse(call.query.get('filters'), ['label', 'label!', 'until']);
  const until = untilOf(context, filters);
  const deleted: string[] = [];
  for (const info of await context.runtime.list({ states: ['created', 'stopped'] })) {
    const wanted = filters.labels(info.labels) && (until === undefined || info.createdAt < until);
    if (!wanted || info.restartAt !== undefined) continue;
    try {
      await removeWithVolumes(context, info.id, { force: false, volumes: false });
      deleted.push(info.id);
    } catch (error) {
      // Started or removed by somebody meanwhile: no longer to be pruned.
      if (!isHeptadError(error, 'ILLEGAL_TRANSITION') && !isHeptadError(error, 'CONTAINER_NOT_FOUND'))
        throw error;
    }
  }
  call.send(200, { ContainersDeleted: deleted, SpaceReclaimed: 0 });
}

/** The `until` filter: seconds since 1970, a time, or how long ago (`24h`). */
export function untilOf(context: ApiContext, filters: Filters): number | undefined {
  const [text] = filters.get('until');
  if (text === undefined) return undefined;
  const match = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text);
  if (match !== null && text !== '') {
    const [, hours = '0', minutes = '0', seconds = '0'] = match;
    return context.clock.now() - (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000;
  }
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text);
}
