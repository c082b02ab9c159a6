// Images: listed, inspected, named, removed, pruned.

import { ContainerError } from '../../errors.ts';
import type { ApiCall } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { apiEvent } from '../events.ts';
import { Filters } from '../filters.ts';
import { familiarName, type KnownImage } from '../image-index.ts';
import { timeText } from '../show-container.ts';
import { untilOf } from './containers-list.ts';

const LIST_FILTERS = ['before', 'dangling', 'label', 'reference', 'since', 'until'];

function createdAt(known: KnownImage): number {
  const { created } = known.image.config;
  const at = created === undefined ? Number.NaN : Date.parse(created);
  return Number.isNaN(at) ? 0 : at;
}

function repoTags(known: KnownImage): string[] {
  return known.tags.map((tag) => familiarName(tag) ?? tag);
}

function repoDigests(known: KnownImage): string[] {
  const repositories = repoTags(known).map((tag) => tag.slice(0, tag.lastIndexOf(':')));
  return [...new Set(repositories)].map((repository) => `${repository}@${known.image.digest}`);
}

function passes(filters: Filters, known: KnownImage, images: readonly KnownImage[]): boolean {
  const created = (reference: string): number | undefined => {
    const other = images.find(
      ({ id, tags }) =>
        id.includes(reference) || tags.some((tag) => familiarName(tag) === familiarName(reference)),
    );
    return other === undefined ? undefined : createdAt(other);
  };
  return (
    filters.labels(known.image.config.config.Labels ?? {}) &&
    filters.any('reference', (pattern) => repoTags(known).some((tag) => globMatches(tag, pattern))) &&
    // What has no name is not listed at all.
    !filters.flag('dangling', false) &&
    filters.any('before', (reference) => createdAt(known) < (created(reference) ?? 0)) &&
    filters.any('since', (reference) => createdAt(known) > (created(reference) ?? Number.POSITIVE_INFINITY))
  );
}

/** Docker's patterns: `*` and `?` within one part of a name; the tag may be left out. */
export function globMatches(tag: string, pattern: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '[^/]*')
    .replace(/\?/g, '[^/]');
  const name = tag.slice(0, tag.lastIndexOf(':'));
  const expression = new RegExp(`^${source}$`);
  return expression.test(tag) || expression.test(name);
}

/** `GET /images/json` */
export async function listImages(context: ApiContext, call: ApiCall): Promise<void> {
  const filters = Filters.parse(call.query.get('filters'), LIST_FILTERS);
  const images = await context.images.all();
  const containers = await context.runtime.list();
  const until = untilOf(context, filters);
  const chosen = images
    .filter((known) => passes(filters, known, images) && (until === undefined || createdAt(known) < until))
    .sort((one, other) => createdAt(other) - createdAt(one));
  call.send(
    200,
    chosen.map((known) => ({
      Id: known.id,
      ParentId: '',
      RepoTags: repoTags(known),
      RepoDigests: repoDigests(known),
      Created: Math.floor(createdAt(known) / 1000),
      Size: known.image.sizeBytes,
      VirtualSize: known.image.sizeBytes,
      SharedSize: -1,
      Labels: known.image.config.config.Labels ?? null,
      Containers: containers.filter(({ imageDigest }) => imageDigest === known.image.digest).length,
    })),
  );
}

/** `GET /images/{name...}/json` */
export async function inspectImage(context: ApiContext, call: ApiCall): Promise<void> {
  const known = await context.images.find(call.parameter('name'));
  const { config } = known.image;
  call.send(200, {
    Id: known.id,
    RepoTags: repoTags(known),
    RepoDigests: repoDigests(known),
    Parent: '',
    Comment: '',
    Created: timeText(createdAt(known)),
    Container: '',
    DockerVersion: '',
    Author: '',
    Config: {
      Hostname: '',
      Domainname: '',
      AttachStdin: false,
      AttachStdout: false,
      AttachStderr: false,
      Tty: false,
      OpenStdin: false,
      StdinOnce: false,
      Image: '',
      ...config.config,
    },
    Architecture: config.architecture,
    ...(config.variant === undefined ? {} : { Variant: config.variant }),
    Os: config.os,
    Size: known.image.sizeBytes,
    VirtualSize: known.image.sizeBytes,
    GraphDriver: { Name: 'overlay2', Data: {} },
    RootFS: { Type: 'layers', Layers: config.rootfs.diff_ids },
    Metadata: { LastTagTime: timeText(undefined) },
  });
}

/** `GET /images/{name...}/history` */
export async function imageHistory(context: ApiContext, call: ApiCall): Promise<void> {
  const known = await context.images.find(call.parameter('name'));
  const { config, manifest } = known.image;
  const history = config.history ?? manifest.layers.map(() => ({}));
  let layer = 0;
  const entries = history.map((entry) => {
    const isEmpty = 'empty_layer' in entry && entry.empty_layer === true;
    const size = isEmpty ? 0 : (manifest.layers[layer]?.size ?? 0);
    if (!isEmpty) layer += 1;
    const created =
      'created' in entry && entry.created !== undefined ? Date.parse(entry.created) : createdAt(known);
    return {
      Id: '<missing>',
      Created: Math.floor(created / 1000),
      CreatedBy: 'created_by' in entry ? (entry.created_by ?? '') : '',
      Tags: null as string[] | null,
      Size: size,
      Comment: 'comment' in entry ? (entry.comment ?? '') : '',
    };
  });
  const newestFirst = entries.reverse();
  const [top] = newestFirst;
  if (top !== undefined) Object.assign(top, { Id: known.id, Tags: repoTags(known) });
  call.send(200, newestFirst);
}

/** `POST /images/{name...}/tag` */
export async function tagImage(context: ApiContext, call: ApiCall): Promise<void> {
  const repository = call.query.get('repo') ?? '';
  const tag = call.query.get('tag') || 'latest';
  const known = await context.images.find(call.parameter('name'));
  const name = familiarName(`${repository}:${tag}`);
  if (name === undefined)
    throw new ContainerError('INVALID_REFERENCE', `invalid reference format: "${repository}:${tag}"`);
  await context.images.store.tag(await context.images.storedName(call.parameter('name')), name);
  context.events.emit(apiEvent('image', 'tag', known.id, context.clock.now(), { name }));
  call.send(201);
}

/** `DELETE /images/{name...}` */
export async function removeImage(context: ApiContext, call: ApiCall): Promise<void> {
  const reference = call.parameter('name');
  const known = await context.images.find(reference);
  const named = known.tags.find((tag) => familiarName(tag) === familiarName(reference));
  const going = named === undefined ? known.tags : [named];
  const isLast = going.length === known.tags.length;
  if (named === undefined && known.tags.length > 1 && !call.flag('force')) {
    throw new ContainerError(
      'IMAGE_IN_USE',
      `conflict: unable to delete ${reference} (must be forced) - image is referenced in multiple repositories`,
    );
  }
  if (isLast) await refuseIfUsed(context, known, reference, call.flag('force'));
  const answer: Record<string, string>[] = [];
  for (const tag of going) {
    await context.images.store.remove(tag);
    answer.push({ Untagged: familiarName(tag) ?? tag });
    context.events.emit(
      apiEvent('image', 'untag', known.id, context.clock.now(), { name: familiarName(tag) ?? tag }),
    );
  }
  if (isLast) {
    answer.push({ Deleted: known.id });
    context.events.emit(apiEvent('image', 'delete', known.id, context.clock.now()));
    // Its data goes with the next prune; what another pull is about to need stays.
    await context.engine.prune({}).catch(() => undefined);
  }
  call.send(200, answer);
}

async function refuseIfUsed(
  context: ApiContext,
  known: KnownImage,
  reference: string,
  force: boolean,
): Promise<void> {
  const users = (await context.runtime.list()).filter(
    ({ imageDigest }) => imageDigest === known.image.digest,
  );
  const running = users.find(({ state }) => state === 'running' || state === 'paused');
  const user = running ?? users[0];
  if (user === undefined || (force && running === undefined)) return;
  const why = running === undefined ? 'must be forced' : 'cannot be forced';
  const how = running === undefined ? 'stopped container' : 'running container';
  throw new ContainerError(
    'IMAGE_IN_USE',
    `conflict: unable to remove repository reference "${reference}" (${why}) - container ${user.id.slice(0, 12)} is using its referenced image: a ${how}`,
  );
}

/** `POST /images/prune` */
export async function pruneImages(context: ApiContext, call: ApiCall): Promise<void> {
  const filters = Filters.parse(call.query.get('filters'), ['dangling', 'label', 'label!', 'until']);
  const deleted: Record<string, string>[] = [];
  if (!filters.flag('dangling', true)) {
    const until = untilOf(context, filters);
    const used = new Set((await context.runtime.list()).map(({ imageDigest }) => imageDigest));
    for (const known of await context.images.all()) {
      const old = until === undefined || createdAt(known) < until;
      if (used.has(known.image.digest) || !old || !filters.labels(known.image.config.config.Labels ?? {}))
        continue;
      for (const tag of known.tags) {
        await context.images.store.remove(tag);
        deleted.push({ Untagged: familiarName(tag) ?? tag });
      }
      deleted.push({ Deleted: known.id });
    }
  }
  const report = await context.engine.prune({});
  call.send(200, { ImagesDeleted: deleted, SpaceReclaimed: report.freedBytes });
}
