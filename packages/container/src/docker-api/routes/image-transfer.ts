// Images on the move: pull, push, load, save.

import { PassThrough } from 'node:stream';
import { isHeptadError } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../../errors.ts';
import { locate } from '../../registry/location.ts';
import type { TransferEvent } from '../../registry/progress.ts';
import { RegistryClient } from '../../registry/registry-client.ts';
import { sentenceOf } from '../api-error.ts';
import { type ApiCall, writeTo } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { apiEvent } from '../events.ts';
import { familiarName } from '../image-index.ts';
import { plainTar } from '../plain-tar.ts';

const TAR = 'application/x-tar';

const authSchema = z.looseObject({
  username: z.string().optional(),
  password: z.string().optional(),
  auth: z.string().optional(),
  identitytoken: z.string().optional(),
  registrytoken: z.string().optional(),
});

type Credentials = NonNullable<ConstructorParameters<typeof RegistryClient>[0]>['credentials'];

/** A client for the registry of `reference`, with the credentials that came with the request. */
function clientFor(context: ApiContext, call: ApiCall, reference: string): RegistryClient {
  const header = call.request.headers['x-registry-auth'];
  const credentials =
    typeof header === 'string' && header !== '' ? credentialsOf(header, reference) : undefined;
  return new RegistryClient({
    // Whose configuration files these are is not the client's to know: it sends what it has.
    dockerConfig: false,
    ...context.registry,
    ...(credentials === undefined
      ? {}
      : { credentials: { ...context.registry.credentials, ...credentials } }),
  });
}

/** What the header says; clients without credentials send an empty object. */
export function credentialsOf(header: string, reference: string): Credentials | undefined {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(header, 'base64url').toString('utf8') || '{}');
  } catch (cause) {
    throw new ContainerError('INVALID_ARGUMENT', 'the header X-Registry-Auth is not base64 of JSON', {
      cause,
    });
  }
  const parsed = authSchema.safeParse(json);
  if (!parsed.success)
    throw new ContainerError('INVALID_ARGUMENT', 'the header X-Registry-Auth has odd fields');
  const { username, password, identitytoken, registrytoken } = parsed.data;
  const { registry } = locate(reference);
  if (registrytoken) return { [registry]: { bearerToken: registrytoken } };
  if (identitytoken) return { [registry]: { identityToken: identitytoken } };
  if (username && password !== undefined) return { [registry]: { username, password } };
  return undefined;
}

/** `POST /images/create`: a pull. */
export async function pullImage(context: ApiContext, call: ApiCall): Promise<void> {
  if ((call.query.get('fromSrc') ?? '') !== '') {
    throw new ContainerError('NOT_SUPPORTED', 'cannot import a root file system as an image', {
      hint: 'load an image archive instead',
    });
  }
  const from = call.query.get('fromImage') ?? '';
  const tag = call.query.get('tag') ?? '';
  const whole = tag === '' ? from : tag.startsWith('sha256:') ? `${from}@${tag}` : `${from}:${tag}`;
  const reference =
    familiarName(whole) === undefined || whole.includes('@') ? whole : (familiarName(whole) ?? whole);
  // Says no to a malformed name while a status still can.
  locate(reference);
  await using client = clientFor(context, call, reference);
  const platform = call.query.get('platform') ?? '';
  const pull = client.pull(context.images.store, reference, {
    signal: call.closed,
    ...(platform === '' ? {} : { platform }),
  });
  const response = call.stream('application/json');
  const say = (line: Record<string, unknown>): Promise<boolean> =>
    writeTo(response, `${JSON.stringify(line)}\r\n`);
  try {
    await say({ status: `Pulling from ${reference}`, id: locate(reference).tag ?? 'latest' });
    for await (const event of pull) await say(progressLine(event, 'Downloading', 'Pull complete'));
    const { digest, transferredBytes } = await pull;
    await say({ status: `Digest: ${digest}` });
    const newer = transferredBytes > 0 ? 'Downloaded newer image for' : 'Image is up to date for';
    await say({ status: `Status: ${newer} ${reference}` });
    const { id } = await context.images.find(reference);
    context.events.emit(apiEvent('image', 'pull', id, context.clock.now(), { name: reference }));
  } catch (error) {
    await say(errorLine(error));
  }
  response.end();
}

/** `POST /images/{name...}/push` */
export async function pushImage(context: ApiContext, call: ApiCall): Promise<void> {
  const name = call.parameter('name');
  const tag = call.query.get('tag') ?? '';
  const reference = tag === '' ? name : `${name}:${tag}`;
  const stored = await context.images.storedName(reference);
  await using client = clientFor(context, call, reference);
  const push = client.push(context.images.store, stored, { as: reference, signal: call.closed });
  const response = call.stream('application/json');
  const say = (line: Record<string, unknown>): Promise<boolean> =>
    writeTo(response, `${JSON.stringify(line)}\r\n`);
  try {
    await say({
      status: `The push refers to repository [${locate(reference).registry}/${locate(reference).repository}]`,
    });
    for await (const event of push) await say(progressLine(event, 'Pushing', 'Pushed'));
    const { digest } = await push;
    const shownTag = locate(reference).tag ?? 'latest';
    await say({ status: `${shownTag}: digest: ${digest} size: 0` });
    await say({ progressDetail: {}, aux: { Tag: shownTag, Digest: digest, Size: 0 } });
    context.events.emit(apiEvent('image', 'push', reference, context.clock.now(), { name: reference }));
  } catch (error) {
    await say(errorLine(error));
  }
  response.end();
}

function progressLine(event: TransferEvent, busy: string, done: string): Record<string, unknown> {
  switch (event.type) {
    case 'resolved':
      return { status: `Resolved ${event.digest}: ${event.blobs} blobs, ${event.bytes} bytes` };
    case 'retry':
      return { status: `Retrying ${event.what}: ${event.reason}` };
    case 'unpacked':
      return { status: 'Extracted', id: shortId(event.digest) };
    case 'blob': {
      const id = shortId(event.digest);
      const detail = { current: event.offset, total: event.size };
      if (event.status === 'waiting') return { status: 'Waiting', progressDetail: {}, id };
      if (event.status === 'transferring') return { status: busy, progressDetail: detail, id };
      if (event.status === 'done') return { status: done, progressDetail: {}, id };
      return {
        status: event.status === 'mounted' ? 'Mounted from another repository' : 'Already exists',
        progressDetail: {},
        id,
      };
    }
  }
}

function shortId(digest: string): string {
  return digest.slice('sha256:'.length, 'sha256:'.length + 12);
}

/** A failure after the status 200 has been sent: clients look for it in the stream. */
function errorLine(error: unknown): Record<string, unknown> {
  const message = sentenceOf(error);
  return { errorDetail: { message }, error: message };
}

/** `POST /images/load` */
export async function loadImages(context: ApiContext, call: ApiCall): Promise<void> {
  const tags = await context.images.store.load(plainTar(call.body()));
  const response = call.stream('application/json');
  for (const { name } of tags) {
    const shown = familiarName(name) ?? name;
    await writeTo(response, `${JSON.stringify({ stream: `Loaded image: ${shown}\n` })}\r\n`);
    const { id } = await context.images.find(name);
    context.events.emit(apiEvent('image', 'load', id, context.clock.now(), { name: shown }));
  }
  response.end();
}

/** `GET /images/{name...}/get` and `GET /images/get` */
export async function saveImages(context: ApiContext, call: ApiCall): Promise<void> {
  const single = call.parameter('name');
  const names = single === '' ? call.query.getAll('names').flatMap((each) => each.split(',')) : [single];
  if (names.length === 0) throw new ContainerError('INVALID_ARGUMENT', 'no image was named');
  // All are looked for before the answer begins: a missing one is a 404, not half an archive.
  const stored = await Promise.all(names.map((name) => context.images.storedName(name)));
  const archive = new PassThrough();
  const saving = context.images.store.save(stored, archive);
  saving.catch((error: unknown) =>
    archive.destroy(error instanceof Error ? error : new Error(String(error))),
  );
  await call.pipe(archive, TAR);
  await saving;
}

const loginSchema = z.looseObject({
  username: z.string().default(''),
  password: z.string().default(''),
  serveraddress: z.string().default(''),
});

/** `POST /auth` */
export async function checkLogin(context: ApiContext, call: ApiCall): Promise<void> {
  const { username, password, serveraddress } = await call.json(loginSchema);
  const host = serveraddress.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  const registry = host === '' || host === 'index.docker.io' ? 'docker.io' : host;
  await using client = new RegistryClient({
    ...context.registry,
    dockerConfig: false,
    credentials: { [registry]: { username, password } },
  });
  try {
    // The protocol has no request for it: any that needs credentials tells whether they are good.
    await client.tags(`${registry}/heptad/login-check`, { signal: call.closed });
  } catch (error) {
    const known = ['IMAGE_NOT_FOUND', 'ACCESS_DENIED'].some((code) => isHeptadError(error, code));
    if (!known) throw error;
  }
  call.send(200, { IdentityToken: '', Status: 'Login Succeeded' });
}
