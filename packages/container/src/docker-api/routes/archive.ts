// Files of containers: copying out and in, what changed, export and commit.

import type { FileStat } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../../errors.ts';
import type { ApiCall } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { apiEvent } from '../events.ts';
import { containerOf, findContainer } from '../find-container.ts';
import { plainTar } from '../plain-tar.ts';
import { timeText } from '../show-container.ts';
import { environmentOf } from '../spec-of-request.ts';

const TAR = 'application/x-tar';

// Go's os.FileMode, which Docker sends as it is: the type in the high bits, the rest as in Unix.
const GO_TYPES: Readonly<Record<FileStat['type'], number>> = {
  file: 0,
  directory: 0x80000000,
  symlink: 0x08000000,
  device: 0x04000000,
  fifo: 0x02000000,
  socket: 0x01000000,
};
const GO_SETUID = 0x00800000;
const GO_SETGID = 0x00400000;
const GO_STICKY = 0x00100000;

/** A mode as Go has it. */
export function goMode(stat: Pick<FileStat, 'type' | 'mode'>): number {
  const special =
    (stat.mode & 0o4000 ? GO_SETUID : 0) +
    (stat.mode & 0o2000 ? GO_SETGID : 0) +
    (stat.mode & 0o1000 ? GO_STICKY : 0);
  return GO_TYPES[stat.type] + special + (stat.mode & 0o777);
}

function statHeader(stat: FileStat): string {
  const json = {
    name: stat.name,
    size: stat.sizeBytes,
    mode: goMode(stat),
    mtime: timeText(stat.modifiedAt),
    linkTarget: stat.linkTarget ?? '',
  };
  return Buffer.from(JSON.stringify(json)).toString('base64');
}

function pathOf(call: ApiCall): string {
  const path = call.query.get('path') ?? '';
  if (path === '') throw new ContainerError('INVALID_ARGUMENT', 'the query parameter path is missing');
  return path.startsWith('/') ? path : `/${path}`;
}

/** `HEAD /containers/{id}/archive` */
export async function statArchive(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const stat = await context.runtime.statPath(info.id, pathOf(call));
  call.response.setHeader('X-Docker-Container-Path-Stat', statHeader(stat));
  call.send(200);
}

/** `GET /containers/{id}/archive` */
export async function getArchive(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const path = pathOf(call);
  const stat = await context.runtime.statPath(info.id, path);
  const archive = await context.runtime.copyOut(info.id, path, { signal: call.closed });
  call.response.setHeader('X-Docker-Container-Path-Stat', statHeader(stat));
  await call.pipe(archive.content, TAR);
}

/** `PUT /containers/{id}/archive` */
export async function putArchive(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  await context.runtime.copyIn(info.id, pathOf(call), plainTar(call.body()), {
    keepOwners: !call.flag('copyUIDGID'),
    signal: call.closed,
  });
  call.send(200);
}

const CHANGE_KINDS = { changed: 0, added: 1, deleted: 2 } as const;

/** `GET /containers/{id}/changes` */
export async function containerChanges(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const changes = await context.runtime.diff(info.id);
  call.send(
    200,
    changes.map(({ path, kind }) => ({ Path: path, Kind: CHANGE_KINDS[kind] })),
  );
}

/** `GET /containers/{id}/export` */
export async function exportContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  await call.pipe(context.runtime.exportRootfs(info.id, { signal: call.closed }), TAR);
}

const words = z.union([z.string(), z.array(z.string())]).nullish();
const commitSchema = z.looseObject({
  Entrypoint: words,
  Cmd: words,
  Env: z.array(z.string()).nullish(),
  WorkingDir: z.string().nullish(),
  User: z.string().nullish(),
  Labels: z.record(z.string(), z.string()).nullish(),
  StopSignal: z.string().nullish(),
});

/** `POST /commit` */
export async function commitContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await findContainer(context, call.query.get('container') ?? '');
  const request = await call.json(commitSchema);
  if ((call.query.get('changes') ?? '') !== '') {
    throw new ContainerError('NOT_SUPPORTED', 'cannot commit with Dockerfile instructions (changes)', {
      hint: 'send the changed configuration as the request body',
    });
  }
  const repository = call.query.get('repo') ?? '';
  const tag = call.query.get('tag') ?? '';
  const list = (value: string | readonly string[] | null | undefined): readonly string[] | undefined =>
    value === null || value === undefined ? undefined : typeof value === 'string' ? [value] : value;
  const entrypoint = list(request.Entrypoint);
  const command = list(request.Cmd);
  const { digest } = await context.runtime.commit(info.id, {
    pause: call.flag('pause', true),
    ...(repository === '' ? {} : { reference: tag === '' ? repository : `${repository}:${tag}` }),
    ...(call.query.get('author') ? { author: call.query.get('author') ?? '' } : {}),
    ...(call.query.get('comment') ? { message: call.query.get('comment') ?? '' } : {}),
    changes: {
      ...(entrypoint === undefined ? {} : { entrypoint }),
      ...(command === undefined ? {} : { command }),
      ...(request.Env ? { environment: environmentOf(request.Env) } : {}),
      ...(request.WorkingDir ? { workingDirectory: request.WorkingDir } : {}),
      ...(request.User ? { user: request.User } : {}),
      ...(request.Labels ? { labels: request.Labels } : {}),
      ...(request.StopSignal ? { stopSignal: request.StopSignal } : {}),
    },
  });
  const { id } = await context.images.find(digest);
  context.events.emit(
    apiEvent('image', 'tag', id, context.clock.now(), repository === '' ? {} : { name: repository }),
  );
  call.send(201, { Id: id });
}
