import { describe, expect, it } from 'vitest';
import { startOperation } from './operation.ts';

type Event = { readonly about: string; readonly value: number };

describe('an operation', () => {
  it('is awaited for its result and iterated for its progress', async () => {
    const operation = startOperation<Event, string>(
      async (report) => {
        report({ about: 'a', value: 1 });
        await Promise.resolve();
        report({ about: 'b', value: 2 });
        return 'done';
      },
      ({ about }) => about,
    );
    const seen: Event[] = [];
    for await (const event of operation) seen.push(event);
    expect(seen).toEqual([
      { about: 'a', value: 1 },
      { about: 'b', value: 2 },
    ]);
    expect(await operation).toBe('done');
    const again: Event[] = [];
    for await (const event of operation) again.push(event);
    expect(again).toHaveLength(2);
  });

  it('shows a slow reader the latest of each thing, and everything has its end', async () => {
    const operation = startOperation<Event, void>(
      async (report) => {
        for (let value = 0; value < 1_000; value += 1) report({ about: 'a', value });
        report({ about: 'b', value: 0 });
      },
      ({ about }) => about,
    );
    await operation;
    const seen: Event[] = [];
    for await (const event of operation) seen.push(event);
    expect(seen).toEqual([
      { about: 'a', value: 999 },
      { about: 'b', value: 0 },
    ]);
  });

  it('throws where it is iterated what the work threw, and leaving the loop does not stop it', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const operation = startOperation<Event, void>(
      async (report) => {
        report({ about: 'a', value: 1 });
        await promise;
        throw new Error('broken');
      },
      ({ about }) => about,
    );
    for await (const event of operation) {
      expect(event.value).toBe(1);
      break;
    }
    resolve();
    await expect(
      (async () => {
        for await (const _ of operation);
      })(),
    ).rejects.toThrow('broken');
    await expect(operation).rejects.toThrow('broken');
  });
});
