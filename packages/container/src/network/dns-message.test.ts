import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseQuestion, response, reversedAddress, TYPE_A } from './dns-message.ts';

/** A query as a resolver sends it. */
function query(name: string, type: number, id = 0x1234): Buffer {
  const header = Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]);
  return Buffer.concat([header, Buffer.from([...labels, 0, 0, type, 0, 1])]);
}

describe('parseQuestion', () => {
  it('reads name, type and id', () => {
    expect(parseQuestion(query('Catalog.shop', TYPE_A))).toMatchObject({
      id: 0x1234,
      name: 'catalog.shop',
      type: TYPE_A,
      recursionDesired: true,
    });
  });

  it('refuses answers, several questions, compression and names that are cut', () => {
    const good = query('catalog', TYPE_A);
    const changed = (at: number, value: number): Buffer => {
      const copy = Buffer.from(good);
      copy[at] = value;
      return copy;
    };
    for (const bad of [
      changed(2, 0x81),
      changed(5, 2),
      changed(12, 0xc0),
      changed(12, 63),
      good.subarray(0, 16),
    ]) {
      expect(parseQuestion(bad)).toBeUndefined();
    }
  });

  it('never throws, whatever arrives', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        parseQuestion(Buffer.from(bytes));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('response', () => {
  it('repeats the question and carries every address', () => {
    const asked = query('catalog', TYPE_A);
    const question = parseQuestion(asked);
    if (question === undefined) throw new Error('the question was not understood');
    const answer = response(asked, question, [{ address: '10.1.2.3' }, { address: '10.1.2.4' }], 5);
    expect(answer.readUInt16BE(0)).toBe(0x1234);
    expect(answer.readUInt16BE(6)).toBe(2);
    expect(answer.subarray(12, question.end)).toEqual(asked.subarray(12));
    expect([...answer.subarray(-4)]).toEqual([10, 1, 2, 4]);
  });
});

describe('reversedAddress', () => {
  it('is the address whose name is asked for', () => {
    expect(reversedAddress('2.7.213.10.in-addr.arpa')).toBe('10.213.7.2');
    expect(reversedAddress('catalog')).toBeUndefined();
  });
});
