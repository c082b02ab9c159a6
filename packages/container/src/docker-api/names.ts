// Names for containers that are made without one, easy to say and to type.

import type { Random } from '@heptad/core';

const QUALITIES =
  'able bold brave bright calm clear clever eager fair fine firm free fresh glad happy keen kind light lively lucky merry mild neat nice open plain proud quick quiet ready sharp smart solid sound steady strong sunny swift tidy warm wise young'.split(
    ' ',
  );
const PEOPLE =
  'allen bartik bernerslee boole cerf church clarke codd curry dijkstra easley engelbart floyd goldberg hamilton hoare holberton hopper johnson kay kernighan knuth lamarr lamport liskov lovelace mccarthy meitner milner minsky moore neumann perlman perlis rabin ritchie sammet scott shannon tarjan thompson turing wing wirth'.split(
    ' ',
  );
const TRIES = 20;

/** A name that `taken` does not have. */
export function inventName(random: Random, taken: (name: string) => boolean): string {
  const pick = (words: readonly string[]): string => words[random.integer(words.length)] ?? 'calm';
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const name = `${pick(QUALITIES)}_${pick(PEOPLE)}`;
    if (!taken(name)) return name;
  }
  return `${pick(QUALITIES)}_${pick(PEOPLE)}_${Buffer.from(random.bytes(4)).toString('hex')}`;
}
