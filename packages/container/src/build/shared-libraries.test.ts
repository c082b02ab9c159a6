import { expect, it } from 'vitest';
import { sortEntries } from '../image/layer-writer.ts';
import { parseLdd, sharedLibraries } from './shared-libraries.ts';

it('reads the output of ldd, loader included', () => {
  const output =
    '\tlinux-vdso.so.1 (0x00007f)\n\tlibdl.so.2 => /lib/x86_64-linux-gnu/libdl.so.2 (0x00007f1442f32000)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f1442f4a000)\n';
  expect(parseLdd(output, 'node')).toEqual([
    '/lib/x86_64-linux-gnu/libdl.so.2',
    '/lib64/ld-linux-x86-64.so.2',
  ]);
  expect(() => parseLdd('\tlibx.so.1 => not found\n', 'node')).toThrow(/needs libx.so.1/);
});

it('finds the loader of the running Node', async () => {
  expect((await sharedLibraries(process.execPath)).some((path) => /ld-|ld\.so/.test(path))).toBe(true);
});

it('sorts entries by code unit and adds parents', () => {
  const file = (path: string) => ({ type: 'file' as const, path, mode: 0o644, content: '' });
  expect(sortEntries([file('b/é'), file('b/Z'), file('a-b'), file('a/x')]).map(({ path }) => path)).toEqual([
    'a',
    'a-b',
    'a/x',
    'b',
    'b/Z',
    'b/é',
  ]);
});
