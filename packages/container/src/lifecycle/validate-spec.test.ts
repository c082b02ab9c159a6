import type { ContainerSpec } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { signalNumber } from './signals.ts';
import { validateLimits, validateSpec } from './validate-spec.ts';

const good: ContainerSpec = { name: 'web', image: 'shop:1' };

describe('validateSpec', () => {
  it('accepts a complete spec', () => {
    validateSpec({
      ...good,
      environment: { A: '', 'with.dot': 'x' },
      workingDirectory: '/app',
      hostname: 'web-1',
      limits: { cpuMillis: 10, memoryBytes: 4 << 20, pids: 1 },
      mounts: [
        { type: 'bind', source: '/srv', target: '/srv' },
        { type: 'volume', name: 'data', target: '/data' },
        { type: 'tmpfs', target: '/tmp' },
      ],
      ports: [{ hostPort: 80, containerPort: 8080, hostAddress: '::1' }],
      hosts: { catalog: '10.88.0.1' },
      stopSignal: 'SIGQUIT',
    });
  });

  const bad: Record<string, Partial<ContainerSpec>> = {
    name: { name: 'a b' },
    image: { image: ' ' },
    'environment variable name': { environment: { 'A=B': 'x' } },
    workingDirectory: { workingDirectory: 'app' },
    hostname: { hostname: 'a_b' },
    'not a signal': { stopSignal: 'SIGNOTHING' },
    cpuMillis: { limits: { cpuMillis: 9 } },
    memoryBytes: { limits: { memoryBytes: 1024 } },
    pids: { limits: { pids: 0.5 } },
    'mount target': { mounts: [{ type: 'tmpfs', target: '/../etc' }] },
    'bind source': { mounts: [{ type: 'bind', source: 'srv', target: '/srv' }] },
    'volume name': { mounts: [{ type: 'volume', name: '../x', target: '/x' }] },
    port: { ports: [{ hostPort: 0, containerPort: 80 }] },
    'host address': { ports: [{ hostPort: 80, containerPort: 80, hostAddress: 'localhost' }] },
    'host entry': { hosts: { 'a\nb': '10.0.0.1' } },
    'logs.maxBytes': { logs: { maxBytes: 1 } },
  };
  for (const [what, change] of Object.entries(bad)) {
    it(`refuses a bad ${what}, naming it`, () => {
      expect(() => validateSpec({ ...good, ...change })).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(what) }),
      );
    });
  }

  it('never repeats the value of an environment variable', () => {
    try {
      validateSpec({ ...good, environment: { TOKEN: 'hunter2\0' } });
      expect.unreachable();
    } catch (error) {
      expect(String(error)).not.toContain('hunter2');
    }
  });

  it('names the minimum of a limit', () => {
    expect(() => validateLimits({ memoryBytes: 1 }, 'update')).toThrow(/minimum of 4194304/);
  });
});

describe('signalNumber', () => {
  it('takes names with and without SIG, in any case, and numbers', () => {
    expect(['SIGTERM', 'term', 'Kill', '9', 64, 1].map(signalNumber)).toEqual([15, 15, 9, 9, 64, 1]);
  });
  it('refuses others', () => {
    for (const bad of ['', 'SIGX', 0, 65, 1.5, '0', '-1', Number.NaN])
      expect(() => signalNumber(bad)).toThrow(/is not a signal/);
  });
});
