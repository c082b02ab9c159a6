// The images a Dockerfile names, and putting others in their places.

import { describe, expect, it } from 'vitest';
import { namedImages, replaceImages } from './dockerfile-images.ts';

const names = (text: string, args: Record<string, string> = {}): string[] =>
  namedImages(text, args).map(({ name }) => name);

describe('images of a Dockerfile', () => {
  const cases: readonly [what: string, text: string, found: string[]][] = [
    ['a base', 'FROM alpine:3', ['alpine:3']],
    ['nothing to build on', 'FROM scratch', []],
    [
      'small letters, options and a stage',
      'from --platform=linux/amd64 a:1 as Build\nFROM b\nCOPY --from=build x y',
      ['a:1', 'b'],
    ],
    ['stages on stages', 'FROM a AS one\nFROM one AS two\nFROM two', ['a']],
    ['a copy from an image', 'FROM scratch\nCOPY --chown=1 --from=tools:2 /bin /bin', ['tools:2']],
    ['a copy from a stage by number', 'FROM a\nFROM b\nCOPY --from=0 x y', ['a', 'b']],
    ['a mount from an image', 'FROM a\nRUN --mount=type=bind,from=deps:1,target=/d true', ['a', 'deps:1']],
    ['arguments with defaults', `ARG V="3.2"\nARG B=alpine\nFROM \${B}:$V`, ['alpine:3.2']],
    ['a fallback', `ARG V\nFROM alpine:\${V:-edge}`, ['alpine:edge']],
    ['comments', '# FROM x\nFROM a', ['a']],
    ['here-documents', 'FROM a\nRUN <<EOF\nFROM b\nEOF\nFROM c', ['a', 'c']],
    ['DOS line ends', 'FROM a:1\r\nRUN x\r\n', ['a:1']],
  ];
  for (const [what, text, found] of cases) it(what, () => expect(names(text)).toEqual(found));

  it('arguments that are given win', () => {
    expect(names('ARG B=a\nFROM $B', { B: 'mine' })).toEqual(['mine']);
  });

  it('a variable without value, and a file without FROM, are refused', () => {
    expect(() => names(`FROM \${NO}`)).toThrow(/line 1 .*\$NO/);
    expect(() => names('ARG A=1\nRUN true')).toThrow(/no FROM/);
  });
});

it('others take their places, and nothing else changes', () => {
  const text = 'ARG B=x\nFROM $B AS s # $B\nCOPY --from=t:1 --from=t:1 a b\nRUN echo $B';
  const replaced = replaceImages(
    text,
    namedImages(text).map((one) => ({ ...one, by: `NEW(${one.name})` })),
  );
  expect(replaced).toBe(
    'ARG B=x\nFROM NEW(x) AS s # $B\nCOPY --from=NEW(t:1) --from=NEW(t:1) a b\nRUN echo $B',
  );
});
