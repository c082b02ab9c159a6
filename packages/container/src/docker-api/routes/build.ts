// `POST /build`: a context becomes an image, and what happens is told line by line, in Docker's words.

import { randomBytes } from 'node:crypto';
import { errorMessage, isHeptadError } from '@heptad/core';
import { z } from 'zod';
import {
  type BuildDockerfileOptions,
  buildDockerfile,
  DOCKERFILE_NAMES,
  dockerfileImages,
} from '../../build/build-dockerfile.ts';
import { type BuildProgress, buildNodeImage } from '../../build/build-node-image.ts';
import { ContainerError } from '../../errors.ts';
import { RegistryClient, type RegistryClientOptions } from '../../registry/registry-client.ts';
import { sentenceOf } from '../api-error.ts';
import { fileOfContext, unpackContext } from '../build-context.ts';
import { type BuildRequest, buildRequestOf } from '../build-request.ts';
import { type ApiCall, writeTo } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { apiEvent } from '../events.ts';

/** What the classic client asks for when nobody named a Dockerfile. */
const USUAL_DOCKERFILE = 'Dockerfile';
/** An image without `-t` has this name and its short id: what has no name would be garbage. */
const UNNAMED_REPOSITORY = 'heptad/build';
const SHORT_ID_DIGITS = 12;
// A line has at most 2,000 characters; what a client has not read by then is left out rather than kept in memory.
const MAX_WAITING_LINES = 5_000;

/** `POST /build` */
export async function buildRoute(context: ApiContext, call: ApiCall): Promise<void> {
  const request = buildRequestOf(call);
  const registry = registryOf(context, call);
  await using files = await unpackContext(context.engine.home, call.body());
  const build = await chooseBuild(context, call, request, files.directory, registry);
  const response = call.stream('application/json');
  const say = (line: Record<string, unknown>): Promise<boolean> =>
    writeTo(response, `${JSON.stringify(line)}\r\n`);
  const progress = new ProgressLines(request.quiet ? undefined : say);
  const onProgress = ({ message }: BuildProgress): void => progress.add(message);
  try {
    const { id, names } = await keep(context, request, (name) => build(name, onProgress));
    await progress.said;
    if (request.quiet) await say({ stream: `${id}\n` });
    else {
      await say({ aux: { ID: id } });
      await say({ stream: `Successfully built ${shortId(id)}\n` });
      for (const name of names) await say({ stream: `Successfully tagged ${name}\n` });
    }
  } catch (error) {
    await progress.said;
    await say(failureLine(error, request.quiet));
  }
  response.end();
}

/** What a build says, on its way to a client that may read slowly: a program's output waits for nobody. */
class ProgressLines {
  /** Settled when all lines so far are with the client. */
  said: Promise<unknown> = Promise.resolve();
  private readonly say: ((line: Record<string, unknown>) => Promise<unknown>) | undefined;
  private waiting = 0;

  constructor(say: ((line: Record<string, unknown>) => Promise<unknown>) | undefined) {
    this.say = say;
  }

  add(message: string): void {
    const { say } = this;
    if (say === undefined || this.waiting > MAX_WAITING_LINES) return;
    this.waiting += 1;
    const text =
      this.waiting > MAX_WAITING_LINES ? 'lines are left out: they come faster than they are read' : message;
    this.said = this.said
      .then(() => say({ stream: `${text}\n` }))
      .finally(() => {
        this.waiting -= 1;
      });
  }
}

type Build = (name: string, onProgress: (progress: BuildProgress) => void) => Promise<unknown>;

/** By its Dockerfile, or, when there is none and none was named, as the Node.js application it is. */
async function chooseBuild(
  context: ApiContext,
  call: ApiCall,
  request: BuildRequest,
  directory: string,
  registry: RegistryClientOptions,
): Promise<Build> {
  const isNamed = request.dockerfile !== undefined && request.dockerfile !== USUAL_DOCKERFILE;
  const candidates = isNamed ? [request.dockerfile ?? ''] : DOCKERFILE_NAMES;
  // Builders follow links when they read these.
  for (const name of ['.dockerignore', '.containerignore', 'package-lock.json'])
    await fileOfContext(directory, name);
  const common = { images: context.images.store, directory, labels: request.labels, signal: call.closed };
  for (const candidate of candidates) {
    const dockerfile = await fileOfContext(directory, candidate);
    if (dockerfile === undefined) continue;
    const { args, target, noCache } = request;
    const options = { ...common, dockerfile, args, noCache, ...(target === undefined ? {} : { target }) };
    return async (name, onProgress) =>
      await byDockerfile({ ...options, name, onProgress }, request.pull, registry);
  }
  if (isNamed || (await fileOfContext(directory, 'package.json')) === undefined) {
    throw new ContainerError(
      'PATH_NOT_FOUND',
      `cannot build: the context has no ${candidates.join(' and no ')}`,
      {
        hint: 'send one, or a Node.js application with its package.json',
      },
    );
  }
  if (request.target !== undefined || Object.keys(request.args).length > 0)
    throw new ContainerError('INVALID_ARGUMENT', 'cannot build: target and buildargs need a Dockerfile');
  return async (name, onProgress) => await buildNodeImage({ ...common, name, onProgress });
}

async function byDockerfile(
  options: BuildDockerfileOptions,
  isPulledAlways: boolean,
  registry: RegistryClientOptions,
): Promise<void> {
  await using client = new RegistryClient(registry);
  const { images, onProgress, signal } = options;
  const pull = async (reference: string): Promise<void> => {
    await client.pull(images, reference, signal === undefined ? {} : { signal });
  };
  if (isPulledAlways) {
    for (const reference of await dockerfileImages(options)) {
      onProgress?.({ step: 'base', message: `pulling ${reference}` });
      await pull(reference);
    }
  }
  await buildDockerfile({ ...options, pull });
}

/** Builds under the first name, or one for the time being, and gives the image all its names. */
async function keep(
  context: ApiContext,
  request: BuildRequest,
  build: (name: string) => Promise<unknown>,
): Promise<{ id: string; names: readonly string[] }> {
  const { store } = context.images;
  const [first, ...others] = request.names;
  const name = first ?? `${UNNAMED_REPOSITORY}:${randomBytes(SHORT_ID_DIGITS / 2).toString('hex')}`;
  await build(name);
  const id = (await store.inspect(name)).manifest.config.digest;
  for (const other of others) await store.tag(name, other);
  if (first === undefined) {
    const lasting = `${UNNAMED_REPOSITORY}:${shortId(id)}`;
    await store.tag(name, lasting);
    await store.remove(name);
    return { id, names: [lasting] };
  }
  for (const each of request.names)
    context.events.emit(apiEvent('image', 'tag', id, context.clock.now(), { name: each }));
  return { id, names: request.names };
}

const credentialsSchema = z.record(
  z.string(),
  z.looseObject({
    username: z.string().optional(),
    password: z.string().optional(),
    identitytoken: z.string().optional(),
  }),
);

/** How base images are fetched: with the credentials for all registries that came with the request. */
function registryOf(context: ApiContext, call: ApiCall): RegistryClientOptions {
  const header = call.request.headers['x-registry-config'];
  const given: NonNullable<RegistryClientOptions['credentials']> = {};
  if (typeof header === 'string' && header !== '') {
    let json: unknown;
    try {
      json = JSON.parse(Buffer.from(header, 'base64url').toString('utf8') || '{}');
    } catch (cause) {
      throw new ContainerError('INVALID_ARGUMENT', 'the header X-Registry-Config is not base64 of JSON', {
        cause,
      });
    }
    const parsed = credentialsSchema.safeParse(json ?? {});
    if (!parsed.success)
      throw new ContainerError('INVALID_ARGUMENT', 'the header X-Registry-Config has odd fields');
    for (const [address, { username, password, identitytoken }] of Object.entries(parsed.data)) {
      const host = address.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
      const name = host === 'index.docker.io' ? 'docker.io' : host;
      if (identitytoken) Object.assign(given, { [name]: { identityToken: identitytoken } });
      else if (username && password !== undefined) Object.assign(given, { [name]: { username, password } });
    }
  }
  // Whose configuration files these are is not the client's to know: it sends what it has.
  const { credentials } = context.registry;
  return { dockerConfig: false, ...context.registry, credentials: { ...credentials, ...given } };
}

function shortId(id: string): string {
  return id.slice('sha256:'.length, 'sha256:'.length + SHORT_ID_DIGITS);
}

/** A failure, with the exit code of the step that failed: the client ends with it. */
function failureLine(error: unknown, isQuiet: boolean): Record<string, unknown> {
  const code = isHeptadError(error, 'BUILD_FAILED') ? error.details?.exitCode : undefined;
  if (typeof code !== 'number') {
    const message = sentenceOf(error);
    return { errorDetail: { message }, error: message };
  }
  // What the step printed has been told already, unless the client wanted silence; the last line names the step.
  const message = isQuiet ? sentenceOf(error) : (errorMessage(error).split('\n').at(-1) ?? '');
  return { errorDetail: { code, message }, error: message };
}
