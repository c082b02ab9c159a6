import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { EventLog } from './event-log.ts';

let directory: string;
let path: string;
const event = { at: 1, type: 'create', id: 'a', name: 'a', labels: {} } as const;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'heptad-events-'));
  path = join(directory, 'events.jsonl');
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

it('goes on counting after a restart, and drops a line cut short by a crash', async () => {
  const first = await EventLog.open(path);
  await first.append(event);
  await first.append({ ...event, type: 'start' });
  await appendFile(path, '{"sequence":3,"at":1,"ty');
  const second = await EventLog.open(path);
  await second.append({ ...event, type: 'die', exit: { exitCode: 0, oomKilled: false, finishedAt: 2 } });
  const seen: [number, string][] = [];
  for await (const { sequence, type } of second.follow({ since: 0 })) {
    seen.push([sequence, type]);
    if (type === 'die') break;
  }
  expect(seen).toEqual([
    [1, 'create'],
    [2, 'start'],
    [3, 'die'],
  ]);
  expect(
    (await readFile(path, 'utf8'))
      .split('\n')
      .filter(Boolean)
      .every((text) => JSON.parse(text)),
  ).toBe(true);
});

it('a reader that is there hears new events, and ends when the log closes', async () => {
  const log = await EventLog.open(path);
  const heard: string[] = [];
  const reading = (async () => {
    for await (const { type } of log.follow()) heard.push(type);
  })();
  await log.append(event);
  await log.append({ ...event, type: 'start' });
  await new Promise((resolve) => setImmediate(resolve));
  await log.close();
  await reading;
  expect(heard).toEqual(['create', 'start']);
});
