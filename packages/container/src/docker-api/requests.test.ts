import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRequestSchema } from './create-request.ts';
import { DetachKeys } from './detach-keys.ts';
import { Filters } from './filters.ts';
import { parseBind } from './mounts-of-request.ts';
import { refuseUnsupported } from './refused-settings.ts';
import { goMode } from './routes/archive.ts';
import { globMatches } from './routes/images.ts';
import { specOfRequest } from './spec-of-request.ts';

const settled = {
  name: 'n',
  image: 'i',
  network: undefined,
  networkAliases: [],
  mounts: [],
  ports: [],
  gateway: undefined,
};
const specOf = (body: object): ReturnType<typeof specOfRequest> =>
  specOfRequest(createRequestSchema.parse({ Image: 'i', ...body }), settled);

describe('a creation', () => {
  it('says in our words what it says in Docker’s', () => {
    const spec = specOf({
      Env: ['A=1=2', 'NOTHING'],
      Cmd: 'run',
      Entrypoint: [''],
      HostConfig: {
        NanoCpus: 1_500_000_000,
        Memory: 64 << 20,
        RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 },
      },
      Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 2_000_000_000 },
    });
    expect(spec).toMatchObject({
      environment: { A: '1=2' },
      command: ['run'],
      entrypoint: [],
      limits: { cpuMillis: 1500, memoryBytes: 64 << 20 },
      restart: { policy: 'on-failure', maxRetries: 3 },
      healthCheck: { command: ['/bin/sh', '-c', 'true'], intervalMs: 2000, onUnhealthy: 'none' },
    });
  });

  it('forgets the image’s command when it has an entrypoint of its own', () => {
    expect(specOf({ Entrypoint: ['/x'] }).command).toEqual([]);
    expect(specOf({}).command).toBeUndefined();
  });

  it('is refused by the name of what the engine cannot keep, and not for what asks for nothing', () => {
    const refused = (host: object): void =>
      refuseUnsupported(createRequestSchema.parse({ Image: 'i', HostConfig: host }).HostConfig ?? {});
    expect(() => refused({ Privileged: true })).toThrow(/Privileged/);
    expect(() => refused({ PidMode: 'host' })).toThrow(/PidMode/);
    expect(() => refused({ SecurityOpt: ['seccomp=unconfined'] })).toThrow(/seccomp=unconfined/);
    expect(() =>
      refused({ Privileged: false, Links: [], StorageOpt: {}, SecurityOpt: ['no-new-privileges'] }),
    ).not.toThrow();
  });
});

describe('DetachKeys', () => {
  it('finds the keys however the input is cut, and passes on everything before them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.integer({ min: 1, max: 5 }), (typed, step) => {
        const before = typed.filter((byte) => byte !== 0x10);
        const all = Uint8Array.from([...before, 0x10, 0x11, 0x41]);
        const keys = new DetachKeys('');
        const passed: number[] = [];
        let detached = false;
        for (let at = 0; at < all.length && !detached; at += step) {
          const result = keys.filter(all.subarray(at, at + step));
          passed.push(...result.pass);
          detached = result.detached;
        }
        expect(detached).toBe(true);
        expect(passed).toEqual([...before]);
      }),
    );
  });

  it('passes on a beginning that turns out to be something else', () => {
    const keys = new DetachKeys('ctrl-p,ctrl-q');
    expect([...keys.filter(Uint8Array.of(0x10, 0x10, 0x41)).pass]).toEqual([0x10, 0x10, 0x41]);
    expect(() => new DetachKeys('ctrl-')).toThrow(/detach keys/);
  });
});

describe('small grammars', () => {
  it('filters take both forms, and refuse what they do not know', () => {
    expect(Filters.parse('{"label":["a=b"]}', ['label']).labels({ a: 'b' })).toBe(true);
    expect(Filters.parse('{"label":{"a":true}}', ['label']).labels({ b: 'a' })).toBe(false);
    expect(() => Filters.parse('{"x":["1"]}', ['label'])).toThrow(/invalid filter "x"/);
  });

  it('binds, image patterns and file modes', () => {
    expect(parseBind('data:/data:ro')).toEqual({ source: 'data', target: '/data', readOnly: true });
    expect(() => parseBind('/only')).toThrow(/invalid volume/);
    expect(() => parseBind('/a:/b:shared')).toThrow(/"shared" is not supported/);
    expect(globMatches('shop/web:1', 'shop/*')).toBe(true);
    expect(globMatches('shop/web:1', 'shop')).toBe(false);
    expect(goMode({ type: 'directory', mode: 0o1777 })).toBe(0x80000000 + 0x00100000 + 0o777);
  });
});
