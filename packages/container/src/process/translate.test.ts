import { expect, it } from 'vitest';
import { parseMember } from './members.ts';
import { specMappings, translate, translateCommand } from './translate.ts';

const mappings = [
  { target: '/app', source: '/home/x/app' },
  { target: '/app/data', source: '/volumes/data' },
  { target: '/run/secrets/key', source: '/c/secrets/0' },
];

it('translates whole paths, the deepest mapping first', () => {
  const of = (value: string): string => translate(value, mappings);
  expect(of('/app')).toBe('/home/x/app');
  expect(of('/app/data/x')).toBe('/volumes/data/x');
  expect(of('/run/secrets/key')).toBe('/c/secrets/0');
  expect(of('/apple')).toBe('/apple');
  expect(of('see /app')).toBe('see /app');
});

it("runs the image's Node with this machine's", () => {
  expect(translateCommand(['/usr/local/bin/node', '/app/main.js', '-x'], mappings, '/n')).toEqual([
    '/n',
    '/home/x/app/main.js',
    '-x',
  ]);
  expect(translateCommand(['node'], mappings, '/n')).toEqual(['/n']);
  expect(translateCommand([], mappings, '/n')).toEqual([]);
});

it('maps mounts and secrets to where they lie', () => {
  const spec = {
    name: 'a',
    image: 'b',
    mounts: [
      { type: 'bind', source: '/s', target: '/t' },
      { type: 'volume', name: 'v', target: '/v' },
      { type: 'tmpfs', target: '/m' },
    ],
    secrets: [{ target: '/k', content: 'x' }],
  } as const;
  expect(specMappings(spec, '/c', '/vols')).toEqual([
    { target: '/t', source: '/s' },
    { target: '/v', source: '/vols/v/data' },
    { target: '/m', source: '/c/tmpfs-2' },
    { target: '/k', source: '/c/secrets/0' },
  ]);
});

it('reads /proc/PID/stat of a process with brackets in its name', () => {
  const text = '12 (a ) b) S 1 12 34 0 -1 4194560 1 2 3 4 10 20 1 2 20 0 7 0 999 1000 55 1844';
  expect(parseMember(12, text)).toEqual({
    pid: 12,
    startTime: '999',
    session: 34,
    cpuTicks: 33,
    threads: 7,
    residentPages: 55,
  });
  expect(parseMember(12, '12 (x) Z 1 12 34 0 -1')).toBeUndefined();
});
