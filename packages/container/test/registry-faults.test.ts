// Registries that truncate, lie, stall, refuse and hurry: what arrives is right or refused, and the store stays clean.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerEngine, ImageStore, RegistryClient, type RegistryClientOptions } from '@heptad/container';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type FaultProxy,
  freePort,
  noRegistry,
  type Registry,
  type SeenRequest,
  startFaultProxy,
  startRegistry,
} from './registry-support.ts';
import { makeImage } from './small-image.ts';
import { temporaryDirectory } from './support.ts';

const LAYER_BYTES = 4_000_000;

describe.skipIf(noRegistry !== undefined)('a faulty registry', () => {
  let home = '';
  let registry: Registry;
  let proxy: FaultProxy;
  let images: ImageStore;
  let big = '';
  let count = 0;
  const clients: RegistryClient[] = [];

  const name = (): string => `${proxy.host}/app:1`;
  const blobPath = (): string => `/v2/app/blobs/${big}`;
  const isBig = ({ method, path }: SeenRequest): boolean => method === 'GET' && path === blobPath();
  const freshStore = async (): Promise<ImageStore> => {
    count += 1;
    return await ImageStore.open({ home: join(home, `store-${count}`) });
  };
  const client = (options: RegistryClientOptions = {}): RegistryClient => {
    const made = new RegistryClient({
      dockerConfig: false,
      ...options,
      retry: { attempts: 3, firstDelayMs: 1, maxDelayMs: 5, ...options.retry },
    });
    clients.push(made);
    return made;
  };
  /** Bytes of the big layer that came over the network. */
  const transferred = (): number =>
    proxy.seen.filter(isBig).reduce((sum, { sentBytes }) => sum + sentBytes, 0);
  const requireClean = async (store: ImageStore): Promise<void> => {
    await using engine = await ContainerEngine.open({
      home: join(home, 'engine'),
      imagesHome: store.home,
      runtime: 'process',
    });
    expect(await engine.check({ deep: true })).toMatchObject({ ok: true });
  };

  beforeAll(async () => {
    home = await temporaryDirectory();
    registry = await startRegistry(home);
    proxy = await startFaultProxy(registry);
    images = await ImageStore.open({ home: join(home, 'images') });
    await makeImage(images, { name: name(), layers: [{ big: randomBytes(LAYER_BYTES) }, { small: 'x' }] });
    await client().push(images, name());
    big = (await images.inspect(name())).manifest.layers[0]?.digest ?? '';
  });

  afterEach(() => {
    proxy.fault = () => undefined;
    proxy.seen.length = 0;
  });

  afterAll(async () => {
    for (const made of clients) await made.close();
    await proxy?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  it('that cuts a layer off is asked only for the rest', async () => {
    let cuts = 0;
    proxy.fault = (_, __, seen) => {
      if (!isBig(seen) || cuts === 2) return undefined;
      cuts += 1;
      return { kind: 'cut', afterBytes: 1_500_000 };
    };
    const store = await freshStore();
    const reasons: string[] = [];
    const pull = client().pull(store, name());
    for await (const event of pull) if (event.type === 'retry') reasons.push(event.reason);
    await pull;
    const asked = proxy.seen.filter(isBig);
    expect(asked).toHaveLength(3);
    expect(asked.map(({ headers }) => headers.range).slice(1)).toEqual([
      expect.stringMatching(/^bytes=\d{6,}-$/),
      expect.stringMatching(/^bytes=\d{7,}-$/),
    ]);
    // What was in the sockets when they were cut may be lost; a second whole layer may not be fetched.
    expect(transferred()).toBeLessThan(LAYER_BYTES + 1_000_000);
    await requireClean(store);
  });

  it('is given up after its tries, and the next pull, by another process, goes on from there', async () => {
    proxy.fault = (_, __, seen) =>
      isBig(seen) && seen.headers.range === undefined
        ? { kind: 'cut', afterBytes: 3_000_000 }
        : isBig(seen)
          ? { kind: 'cut', afterBytes: 0 }
          : undefined;
    const store = await freshStore();
    await expect(client().pull(store, name())).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' });
    expect(await store.list()).toEqual([]);
    await requireClean(store);
    proxy.fault = () => undefined;
    proxy.seen.length = 0;
    await inAnotherProcess(store.home, name());
    const [asked] = proxy.seen.filter(isBig);
    expect(asked?.headers.range).toMatch(/^bytes=\d{7}-$/);
    expect(transferred()).toBeLessThan(LAYER_BYTES / 2);
    expect((await store.inspect(name())).manifest.layers[0]?.digest).toBe(big);
    await requireClean(store);
  });

  it('that ignores ranges sends the whole layer again, and it is right', async () => {
    let cut = false;
    proxy.fault = (_, __, seen) => {
      if (!isBig(seen)) return undefined;
      if (cut) return { kind: 'ignore-range' };
      cut = true;
      return { kind: 'cut', afterBytes: 2_000_000 };
    };
    const store = await freshStore();
    await client().pull(store, name());
    await requireClean(store);
  });

  it('that sends other bytes is refused, and nothing of them stays', async () => {
    proxy.fault = (_, __, seen) => (isBig(seen) ? { kind: 'corrupt', at: 2_000_000 } : undefined);
    const store = await freshStore();
    await expect(client().pull(store, name())).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
      message: expect.stringContaining(big),
    });
    expect(await store.content.info(big)).toBeUndefined();
    expect(await store.content.statuses()).toEqual([]);
    expect(await store.list()).toEqual([]);
    await requireClean(store);
  });

  it('that had sent wrong bytes before is asked for all of them once more', async () => {
    let first = true;
    proxy.fault = (_, __, seen) => {
      if (!isBig(seen) || !first) return undefined;
      first = false;
      // Wrong, and then cut: only the end shows it.
      return { kind: 'cut', afterBytes: 2_500_000 };
    };
    const store = await freshStore();
    const impatient = client({ retry: { attempts: 1 } });
    await expect(impatient.pull(store, name())).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' });
    // What a damaged disk would do to the part that is here.
    const [status] = await store.content.statuses();
    const writer = await store.content.writer(status?.ref ?? '');
    await writer.truncate(1_000_000);
    await writer.write(new Uint8Array(500_000));
    await writer.close();
    await client().pull(store, name());
    await requireClean(store);
  });

  it('that lies about its manifest is refused', async () => {
    proxy.fault = (_, response, { method, path }) => {
      if (method !== 'GET' || !path.startsWith('/v2/app/manifests/')) return undefined;
      const body = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}';
      response.writeHead(200, { 'content-type': 'application/vnd.oci.image.index.v1+json' }).end(body);
      return { kind: 'answered' };
    };
    const { digest } = await images.inspect(name());
    await expect(client().manifest(`${proxy.host}/app@${digest}`)).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
  });

  it.each([500, 502, 503, 504])(
    'that answers %i for a while is asked again, and not for ever',
    async (status) => {
      let failures = 2;
      proxy.fault = (_, response) => {
        if (failures === 0) return undefined;
        failures -= 1;
        response.writeHead(status).end('upstream is away');
        return { kind: 'answered' };
      };
      const store = await freshStore();
      await client().pull(store, name());
      failures = Number.POSITIVE_INFINITY;
      proxy.seen.length = 0;
      await expect(client().pull(await freshStore(), name())).rejects.toMatchObject({
        code: 'REGISTRY_FAILED',
        retryable: true,
      });
      expect(proxy.seen.length).toBeLessThanOrEqual(4);
    },
  );

  it('that asks for patience gets it, and is reported when it asks for too much', async () => {
    const slept: number[] = [];
    let refusals = 1;
    let retryAfter = '7';
    proxy.fault = (_, response, seen) => {
      if (!isBig(seen) || refusals === 0) return undefined;
      refusals -= 1;
      response.writeHead(429, { 'retry-after': retryAfter }).end();
      return { kind: 'answered' };
    };
    const { systemClock } = await import('@heptad/core');
    const clock = { ...boundClock(systemClock), sleep: async (ms: number) => void slept.push(ms) };
    await client({ clock }).pull(await freshStore(), name());
    expect(slept.some((ms) => ms >= 7_000)).toBe(true);
    refusals = Number.POSITIVE_INFINITY;
    retryAfter = '3600';
    await expect(client({ clock }).pull(await freshStore(), name())).rejects.toMatchObject({
      code: 'RATE_LIMITED',
      details: { retryAfterMs: 3_600_000 },
    });
  });

  it('that falls silent is left, and a layer that stalls is taken up', async () => {
    let stalls = 1;
    proxy.fault = (_, __, seen) => {
      if (!isBig(seen) || stalls === 0) return undefined;
      stalls -= 1;
      return { kind: 'stall', afterBytes: 2_000_000 };
    };
    const store = await freshStore();
    await client({ timeoutMs: 400 }).pull(store, name());
    expect(transferred()).toBeLessThan(LAYER_BYTES + 1_000_000);
    proxy.fault = () => ({ kind: 'answered' });
    await expect(
      client({ timeoutMs: 200, retry: { attempts: 2 } }).pull(await freshStore(), name()),
    ).rejects.toMatchObject({
      code: 'REGISTRY_UNREACHABLE',
    });
  });

  it('that is not there is unreachable, and says which', async () => {
    const port = await freePort();
    await expect(client().pull(await freshStore(), `127.0.0.1:${port}/app:1`)).rejects.toMatchObject({
      code: 'REGISTRY_UNREACHABLE',
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
  });

  it('is not needed where a mirror has the image, and is asked where the mirror fails', async () => {
    const dead = `http://127.0.0.1:${await freePort()}`;
    const store = await freshStore();
    const origin = `${registry.host}/app:1`;
    // The origin's name leads nowhere: only the mirror can have served it.
    const port = await freePort();
    const away = `localhost:${port}/app:1`;
    await client({ mirrors: { [`localhost:${port}`]: [dead, `http://${proxy.host}`] } }).pull(store, away);
    expect((await store.inspect(away)).manifest.layers[0]?.digest).toBe(big);
    proxy.fault = (_, __, seen) => (isBig(seen) ? { kind: 'corrupt', at: 10 } : undefined);
    const other = await freshStore();
    await client({ mirrors: { [registry.host]: [`http://${proxy.host}`] } }).pull(other, origin);
    await requireClean(other);
  });

  it('is asked once for a layer that several pulls want at once', async () => {
    const store = await freshStore();
    const one = client();
    const two = client();
    const [first, second] = await Promise.all([
      one.pull(store, name()),
      two.pull(store, name()),
      one.pull(store, name()),
    ]);
    expect(first.digest).toBe(second.digest);
    expect(proxy.seen.filter(isBig)).toHaveLength(1);
    expect(first.transferredBytes + second.transferredBytes).toBeGreaterThan(0);
  });

  it('keeps three layers on the way at most', async () => {
    const many = `${proxy.host}/many:1`;
    await makeImage(images, {
      name: many,
      layers: Array.from({ length: 8 }, (_, index) => ({ [`f${index}`]: randomBytes(50_000) })),
    });
    await client().push(images, many);
    let now = 0;
    let most = 0;
    proxy.fault = (_, response, { method, path }) => {
      if (method !== 'GET' || !path.includes('/blobs/')) return undefined;
      now += 1;
      most = Math.max(most, now);
      response.on('close', () => {
        now -= 1;
      });
      return undefined;
    };
    await client().pull(await freshStore(), many);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(3);
  });

  it('loses a chunk of an upload, and gets it again', async () => {
    const chunked = `${proxy.host}/chunked:1`;
    await makeImage(images, { name: chunked, layers: [{ big: randomBytes(1_000_000) }] });
    let lost = 0;
    proxy.fault = (incoming, response, { method }) => {
      if (method !== 'PATCH' || lost === 2) return undefined;
      lost += 1;
      incoming.destroy();
      response.destroy();
      return { kind: 'answered' };
    };
    const pushed = await client().push(images, chunked, { chunkBytes: 200_000 });
    expect(lost).toBe(2);
    const store = await freshStore();
    expect((await client().pull(store, chunked)).digest).toBe(pushed.digest);
  });

  it('is left alone when the caller gives up, and what arrived is there for the next pull', async () => {
    const store = await freshStore();
    const controller = new AbortController();
    const pull = client().pull(store, name(), { signal: controller.signal });
    await expect(
      (async () => {
        for await (const event of pull)
          if (event.type === 'blob' && event.digest === big && event.offset > 1_000_000)
            controller.abort(new Error('enough'));
      })(),
    ).rejects.toThrow('enough');
    expect(await store.list()).toEqual([]);
    await requireClean(store);
    proxy.seen.length = 0;
    await client().pull(store, name());
    expect(transferred()).toBeLessThan(LAYER_BYTES);
  });

  it('kill -9 at any moment of a pull leaves a store that is sound, and the next pull whole', async () => {
    const store = await freshStore();
    // Slowed down, so that the kill meets the pull and not its end.
    for (const bytes of [0, 1_000_000, 3_999_000]) {
      proxy.fault = (_, __, seen) => (isBig(seen) ? { kind: 'stall', afterBytes: bytes } : undefined);
      const child = pullProcess(store.home, name());
      await until(() =>
        proxy.seen.some((seen) => isBig(seen) && seen.sentBytes >= Math.min(bytes, LAYER_BYTES)),
      );
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
      proxy.seen.length = 0;
      expect(await store.list()).toEqual([]);
      await requireClean(store);
    }
    proxy.fault = () => undefined;
    await client().pull(store, name(), { unpack: true });
    await requireClean(store);
    expect(await store.content.statuses()).toEqual([]);
  });
});

/** A clock whose methods can be spread into another. */
function boundClock(clock: import('@heptad/core').Clock): import('@heptad/core').Clock {
  return {
    now: () => clock.now(),
    monotonicMs: () => clock.monotonicMs(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
    timer: (ms, callback, options) => clock.timer(ms, callback, options),
    interval: (ms, callback, options) => clock.interval(ms, callback, options),
  };
}

function pullProcess(storeHome: string, reference: string): ReturnType<typeof spawn> {
  const program = `
    import { ImageStore, RegistryClient } from '@heptad/container';
    const store = await ImageStore.open({ home: ${JSON.stringify(storeHome)} });
    await using client = new RegistryClient({ dockerConfig: false });
    await client.pull(store, ${JSON.stringify(reference)});
  `;
  const flags = ['--conditions=heptad-source', '--input-type=module', '--eval', program];
  return spawn(process.execPath, flags, { cwd: join(import.meta.dirname, '..'), stdio: 'inherit' });
}

async function inAnotherProcess(storeHome: string, reference: string): Promise<void> {
  const child = pullProcess(storeHome, reference);
  expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(0);
}

async function until(condition: () => boolean): Promise<void> {
  for (let attempt = 0; attempt < 2_000; attempt += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it did not happen within 20 s');
}
