// Who may pull: passwords, tokens, identity tokens, credential helpers, authorities; and what is never sent to whom.

import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { ImageStore, RegistryClient } from '@heptad/container';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { command, noRegistry, type Registry, startRegistry, startTokenServer } from './registry-support.ts';
import { makeImage } from './small-image.ts';
import { temporaryDirectory } from './support.ts';

const USER = { username: 'ada', password: 'correct horse: battery' };
const NO_REPEAT = { retry: { attempts: 1 } };

describe.skipIf(noRegistry !== undefined)('credentials', () => {
  let home = '';
  let guarded: Registry;
  let images: ImageStore;
  const name = (): string => `${guarded.host}/team/app:1`;
  const basic = Buffer.from(`${USER.username}:${USER.password}`).toString('base64');

  /** A configuration of Docker in a directory of its own. */
  const dockerConfig = async (content: unknown): Promise<string> => {
    const directory = await mkdtemp(join(home, 'docker-'));
    const path = join(directory, 'config.json');
    await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };
  const client = (options: ConstructorParameters<typeof RegistryClient>[0]): RegistryClient =>
    new RegistryClient({ ca: guarded.ca, dockerConfig: false, ...NO_REPEAT, ...options });

  beforeAll(async () => {
    home = await temporaryDirectory();
    guarded = await startRegistry(home, { tls: true, basic: USER });
    images = await ImageStore.open({ home: join(home, 'images') });
    await makeImage(images, { name: name(), layers: [{ a: 'secret' }] });
    await using pusher = client({ credentials: { [guarded.host]: USER } });
    await pusher.push(images, name());
  });

  afterAll(async () => {
    await guarded?.[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  it('of docker login open a registry with a password, and skopeo agrees', async () => {
    const path = await dockerConfig({ auths: { [guarded.host]: { auth: basic } } });
    await using registry = client({ dockerConfig: path });
    const store = await ImageStore.open({ home: join(home, 'store') });
    expect((await registry.pull(store, name())).digest).toBe((await images.inspect(name())).digest);
    // A directory of its own: skopeo takes any *.key beside an authority for a client's.
    const authorities = join(home, 'authorities');
    await mkdir(authorities);
    await copyFile(guarded.caPath, join(authorities, 'ca.crt'));
    const flags = ['--cert-dir', authorities, '--creds', `${USER.username}:${USER.password}`];
    const seen = JSON.parse(await command('skopeo', 'inspect', ...flags, `docker://${name()}`));
    expect(seen.Digest).toBe((await images.inspect(name())).digest);
  });

  it.each([
    ['as a URL', (host: string) => ({ auths: { [`https://${host}/v1/`]: { auth: basic } } })],
    ['as user and password', (host: string) => ({ auths: { [host]: USER } })],
  ])('are found written %s', async (_, config) => {
    await using registry = client({ dockerConfig: await dockerConfig(config(guarded.host)) });
    expect((await registry.resolve(name())).digest).toBe((await images.inspect(name())).digest);
  });

  it('come from a credential helper, for one registry or for all', async () => {
    const bin = join(home, 'bin');
    await mkdir(bin, { recursive: true });
    const helper = join(bin, 'docker-credential-heptadtest');
    await writeFile(
      helper,
      `#!/bin/sh\nread host\n[ "$1" = get ] && [ "$host" = "${guarded.host}" ] && printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' "$host" '${USER.username}' '${USER.password}' && exit 0\necho 'credentials not found in native keychain'; exit 1\n`,
    );
    await chmod(helper, 0o755);
    const before = process.env.PATH;
    process.env.PATH = `${bin}:${before}`;
    try {
      for (const config of [
        { credHelpers: { [guarded.host]: 'heptadtest' } },
        { credsStore: 'heptadtest' },
      ]) {
        await using registry = client({ dockerConfig: await dockerConfig(config) });
        expect((await registry.tags(`${guarded.host}/team/app`)).length).toBe(1);
      }
      // "Not found" means nobody, and that is what the registry refuses.
      await using other = client({ dockerConfig: await dockerConfig({ credsStore: 'heptadtest' }) });
      await expect(other.resolve(`localhost:${guarded.port}/team/app:1`)).rejects.toMatchObject({
        code: 'UNAUTHENTICATED',
      });
    } finally {
      process.env.PATH = before;
    }
  });

  it('that are missing, wrong or unreadable are told apart, and no secret is in a message', async () => {
    await using nobody = client({});
    await expect(nobody.pull(images, name())).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      hint: expect.stringContaining('docker login'),
    });
    await using wrong = client({ credentials: { [guarded.host]: { ...USER, password: 'guess-1234' } } });
    const refusal = await wrong.pull(images, name()).catch((error: Error) => error);
    expect(refusal).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(JSON.stringify(refusal)).not.toContain('guess-1234');
    for (const broken of [
      '{',
      { auths: { [guarded.host]: { auth: 'bm9jb2xvbg==' } } },
      { credHelpers: { [guarded.host]: 'no-such-helper' } },
      { credHelpers: { [guarded.host]: '../evil' } },
    ]) {
      await using registry = client({ dockerConfig: await dockerConfig(broken) });
      await expect(registry.resolve(name())).rejects.toMatchObject({ code: 'CREDENTIALS_INVALID' });
    }
  });

  it('are not sent to a server whose certificate nobody vouches for', async () => {
    await using registry = new RegistryClient({
      credentials: { [guarded.host]: USER },
      dockerConfig: false,
      ...NO_REPEAT,
    });
    await expect(registry.pull(images, name())).rejects.toMatchObject({
      code: 'REGISTRY_UNTRUSTED',
      hint: expect.stringContaining('--ca'),
    });
  });

  it('are not sent over plain HTTP unless it is asked for', async () => {
    // Not this machine by name, though the address leads nowhere: it must be refused before anything is sent.
    await using registry = new RegistryClient({
      dockerConfig: false,
      mirrors: { 'registry.test': ['http://192.0.2.1:5000'] },
      ...NO_REPEAT,
      timeoutMs: 500,
    });
    const events: string[] = [];
    const pull = registry.pull(images, 'registry.test/app:1');
    await (async () => {
      for await (const event of pull) if (event.type === 'retry') events.push(event.reason);
    })().catch(() => undefined);
    expect(events.join()).toContain('without encryption');
    await expect(pull).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' });
  });
});

describe.skipIf(noRegistry !== undefined)('tokens', () => {
  const account = { ...USER, identityToken: 'refresh-me' };
  let home = '';
  let tokens: Awaited<ReturnType<typeof startTokenServer>>;
  let registry: Registry;
  let images: ImageStore;
  const name = (): string => `${registry.host}/team/app:1`;
  const client = (
    credentials: NonNullable<ConstructorParameters<typeof RegistryClient>[0]>['credentials'],
  ): RegistryClient =>
    new RegistryClient({
      dockerConfig: false,
      ...NO_REPEAT,
      ...(credentials === undefined ? {} : { credentials }),
    });

  beforeAll(async () => {
    home = await temporaryDirectory();
    tokens = await startTokenServer(home, account);
    registry = await startRegistry(home, { token: tokens });
    images = await ImageStore.open({ home: join(home, 'images') });
    await makeImage(images, { name: name(), layers: [{ a: '1' }, { b: '2' }, { c: '3' }, { d: '4' }] });
    await using pusher = client({ [registry.host]: USER });
    await pusher.push(images, name());
  });

  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]();
    await tokens?.[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  it('are asked for once for a whole pull, with exactly the right to pull', async () => {
    tokens.asked.length = 0;
    await using puller = client({ [registry.host]: USER });
    const store = await ImageStore.open({ home: join(home, 'once') });
    await puller.pull(store, name());
    expect(tokens.asked).toEqual([{ method: 'GET', as: 'user', scopes: ['repository:team/app:pull'] }]);
  });

  it('are fetched with the identity token that docker login kept', async () => {
    tokens.asked.length = 0;
    await using puller = client({ [registry.host]: { identityToken: 'refresh-me' } });
    expect((await puller.resolve(name())).digest).toBe((await images.inspect(name())).digest);
    expect(tokens.asked).toEqual([{ method: 'POST', as: 'identity', scopes: ['repository:team/app:pull'] }]);
  });

  it('are fetched anew when they end', async () => {
    tokens.lifetimeSeconds = 0;
    tokens.asked.length = 0;
    await using puller = client({ [registry.host]: USER });
    await puller.resolve(name());
    await puller.resolve(name());
    expect(tokens.asked.length).toBeGreaterThanOrEqual(2);
    tokens.lifetimeSeconds = 60;
  });

  it('mount across repositories with the right to read the other one', async () => {
    tokens.asked.length = 0;
    await using pusher = client({ [registry.host]: USER });
    const pushed = await pusher.push(images, name(), { as: `${registry.host}/fork/app:1` });
    expect(pushed.mounted).toHaveLength(5);
    expect(tokens.asked.map(({ scopes }) => scopes)).toContainEqual([
      'repository:fork/app:pull,push',
      'repository:team/app:pull',
    ]);
  });

  it('are refused to whom the token server does not know', async () => {
    await using wrong = client({ [registry.host]: { username: 'eve', password: 'x' } });
    await expect(wrong.resolve(name())).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  });
});

describe('a redirect', () => {
  const servers: Server[] = [];
  const serve = async (
    answer: (incoming: IncomingMessage) => { status: number; headers: Record<string, string>; body?: string },
  ) => {
    const seen: IncomingMessage['headers'][] = [];
    const server = createServer((incoming, response) => {
      seen.push(incoming.headers);
      const { status, headers, body } = answer(incoming);
      response.writeHead(status, headers).end(body);
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
  };

  afterAll(() => {
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  });

  it('to another host does not take credentials along', async () => {
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [],
    });
    const storage = await serve(() => ({
      status: 200,
      headers: { 'content-type': 'application/vnd.oci.image.index.v1+json' },
      body: manifest,
    }));
    const front = await serve((incoming) =>
      incoming.headers.authorization === undefined
        ? { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } }
        : incoming.url === '/v2/app/manifests/1'
          ? { status: 307, headers: { location: '/v2/app/manifests/2' } }
          : { status: 302, headers: { location: `http://${storage.host}/blob?signature=1` } },
    );
    await using registry = new RegistryClient({
      dockerConfig: false,
      credentials: { [front.host]: USER },
      ...NO_REPEAT,
    });
    const { bytes } = await registry.manifest(`${front.host}/app:1`);
    expect(Buffer.from(bytes).toString()).toBe(manifest);
    expect(storage.seen).toHaveLength(1);
    expect(storage.seen[0]?.authorization).toBeUndefined();
    // Within the host they stay: the second request there was redirected once and still allowed.
    expect(
      front.seen.filter(({ authorization }) => authorization !== undefined).length,
    ).toBeGreaterThanOrEqual(2);
  });

  it('in a circle ends', async () => {
    const front = await serve(() => ({ status: 302, headers: { location: '/v2/app/manifests/1' } }));
    await using registry = new RegistryClient({ dockerConfig: false, ...NO_REPEAT });
    await expect(registry.manifest(`${front.host}/app:1`)).rejects.toMatchObject({
      code: 'REGISTRY_FAILED',
      message: expect.stringContaining('redirects'),
    });
  });

  it('to plain HTTP elsewhere is refused', async () => {
    const front = await serve(() => ({
      status: 302,
      headers: { location: 'http://192.0.2.1/v2/app/manifests/1' },
    }));
    await using registry = new RegistryClient({ dockerConfig: false, ...NO_REPEAT });
    await expect(registry.manifest(`${front.host}/app:1`)).rejects.toMatchObject({
      code: 'PLAIN_HTTP_REFUSED',
    });
  });
});
