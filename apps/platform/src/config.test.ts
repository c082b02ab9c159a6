import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configFromEnvironment, defaultHome, environmentOf, platformPaths } from './config.ts';

describe('the configuration', () => {
  it('has the documented defaults', () => {
    expect(configFromEnvironment({ HEPTAD_HOME: '/h' })).toMatchObject({
      home: '/h',
      host: '127.0.0.1',
      port: 7070,
      otlpPort: 4318,
      agentPort: 7071,
      nodeName: 'node-1',
      runtime: 'auto',
      storage: { nodes: 3, basePort: 7081 },
    });
  });

  it('moves the ports that nobody named with the port of the API', () => {
    const { agentPort, storage } = configFromEnvironment({ HEPTAD_HOME: '/h', HEPTAD_PORT: '8000' });
    expect([agentPort, storage.basePort]).toEqual([8001, 8011]);
  });

  it('is the same in a child process', () => {
    const config = {
      ...configFromEnvironment({ HEPTAD_HOME: '/h' }),
      host: '127.0.0.9',
      port: 20_000,
      otlpPort: 20_001,
      agentPort: 20_002,
      nodeName: 'other',
      runtime: 'process' as const,
      storage: { nodes: 5, basePort: 20_003, capacityBytes: 1_234_567 },
    };
    expect(configFromEnvironment(environmentOf(config))).toEqual(config);
  });

  it.each([
    ['HEPTAD_PORT', '0'],
    ['HEPTAD_PORT', '65536'],
    ['HEPTAD_PORT', 'http'],
    ['HEPTAD_OTLP_PORT', '43.18'],
    ['HEPTAD_AGENT_PORT', '-1'],
    ['HEPTAD_STORAGE_NODE_COUNT', '0'],
    // The agent's port and those of the storage nodes follow from it.
    ['HEPTAD_PORT', '65535'],
    ['HEPTAD_STORAGE_PORT', '65534'],
  ])('is refused with %s=%s, by name', (name, value) => {
    expect(() => configFromEnvironment({ HEPTAD_HOME: '/h', [name]: value })).toThrowError(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(name) }),
    );
  });

  it('is refused with a runtime that there is not', () => {
    expect(() => configFromEnvironment({ HEPTAD_HOME: '/h', HEPTAD_RUNTIME: 'vm' })).toThrowError(
      expect.objectContaining({ hint: 'use auto, oci or process' }),
    );
  });
});

describe('home', () => {
  it('is HEPTAD_HOME, else where the system keeps such things', () => {
    expect(defaultHome({ HEPTAD_HOME: '/somewhere' })).toBe('/somewhere');
    const other = process.getuid?.() === 0 ? '/var/lib/heptad' : '/data/heptad';
    expect(defaultHome({ XDG_DATA_HOME: '/data' })).toBe(other);
  });

  it('holds everything', () => {
    const { storage, ...paths } = platformPaths('/h');
    for (const path of [...Object.values(paths), storage('storage-1')])
      expect(path.startsWith(join('/h', '/'))).toBe(true);
  });
});
