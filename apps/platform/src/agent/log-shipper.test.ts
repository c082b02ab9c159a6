import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ContainerInfo, ContainerRuntime, LogLine, LogOptions } from '@heptad/core';
import { systemClock } from '@heptad/core';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LogShipper } from './log-shipper.ts';

let server: Server;
let endpoint: string;
/** What the receiver answers, in order; 200 when there is no more. */
let answers: number[];
let received: { body: string; service: string; severity: string; traceId?: string }[];
let requests: number;

beforeEach(async () => {
  answers = [];
  received = [];
  requests = 0;
  server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    requests += 1;
    const status = text.length > 4 * 1024 * 1024 ? 413 : (answers.shift() ?? 200);
    if (status === 200)
      for (const { resource, scopeLogs } of JSON.parse(text).resourceLogs)
        for (const { body, severityText, traceId } of scopeLogs[0].logRecords)
          received.push({
            body: body.stringValue,
            service: resource.attributes[0].value.stringValue,
            severity: severityText,
            ...(traceId === undefined ? {} : { traceId }),
          });
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  endpoint = `http://127.0.0.1:${address.port}`;
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** A runtime with one container that says `lines` and ends its output then, or goes on for ever. */
function runtimeWith(
  lines: () => readonly LogLine[],
  labels = { 'heptad.io/container': 'web-1' },
): ContainerRuntime {
  return {
    list: async () => [
      {
        id: 'c1',
        name: 'web-1',
        labels: { ...labels, 'heptad.io/service': 'web' },
      } as unknown as ContainerInfo,
    ],
    async *logs(_id: string, options: LogOptions) {
      for (const line of lines()) if (options.since === undefined || line.at >= options.since) yield line;
    },
  } as unknown as ContainerRuntime;
}

const line = (text: string, at: number, stream: 'stdout' | 'stderr' = 'stdout'): LogLine => ({
  text,
  at,
  stream,
});
const shipperOf = (runtime: ContainerRuntime): LogShipper =>
  new LogShipper({ runtime, endpoint, token: 'pear', clock: systemClock });
const bodies = (): string[] => received.map(({ body }) => body);
const until = <T>(look: () => T) => expect.poll(look, { timeout: 20_000 });

it("ships a container's lines from its first, each once, although its log is opened again and again", async () => {
  const soon = Date.now() + 60_000;
  const lines = [line('old', 0), line('first', soon), line('second', soon + 1)];
  await using _shipper = shipperOf(runtimeWith(() => lines));
  await until(bodies).toEqual(['first', 'second']);
  lines.push(line('third', soon + 2));
  await until(bodies).toEqual(['first', 'second', 'third']);
  expect(received[0]).toEqual({ body: 'first', service: 'web', severity: 'INFO' });
});

it('reads severity and trace of JSON lines, and takes stderr for errors', async () => {
  const soon = Date.now() + 60_000;
  const record = JSON.stringify({ level: 40, msg: 'slow', traceId: 'a'.repeat(32) });
  const lines = [line(record, soon), line('oh', soon, 'stderr'), line('{no json', soon)];
  await using _shipper = shipperOf(runtimeWith(() => lines));
  await until(() => received.length).toBe(3);
  expect(received.map(({ severity }) => severity)).toEqual(['WARN', 'ERROR', 'INFO']);
  expect(received[0]?.traceId).toBe('a'.repeat(32));
});

it('sends again what a receiver that was away did not get, and in pieces that it takes', async () => {
  answers = [503, 503];
  const soon = Date.now() + 60_000;
  const lines = Array.from({ length: 20 }, (_, index) =>
    line(`${index} ${'x'.repeat(400_000)}`, soon + index),
  );
  await using _shipper = shipperOf(runtimeWith(() => lines));
  await until(() => received.length).toBe(20);
  expect(bodies()).toEqual(lines.map(({ text }) => text));
});

it('is not held up by lines that the receiver will never take', async () => {
  const soon = Date.now() + 60_000;
  const lines = [line('x'.repeat(5 * 1024 * 1024), soon), line('after', soon + 1)];
  await using _shipper = shipperOf(runtimeWith(() => lines));
  await until(bodies).toEqual(['after']);
});

it('sends after its own absence what was said meanwhile, and nothing twice', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'marks-'));
  const marksFile = join(directory, 'marks.json');
  const open = (lines: readonly LogLine[]): LogShipper =>
    new LogShipper({
      runtime: runtimeWith(() => lines),
      endpoint,
      token: 'pear',
      clock: systemClock,
      marksFile,
    });
  const soon = Date.now() + 60_000;
  const lines = [line('before', soon)];
  const first = open(lines);
  await until(bodies).toEqual(['before']);
  await first[Symbol.asyncDispose]();
  // Older than the start of the second shipper, as what a container says while no agent runs always is.
  lines.push(line('meanwhile', soon + 1));
  await using _second = open(lines);
  await until(bodies).toEqual(['before', 'meanwhile']);
  await rm(directory, { recursive: true });
});

it("leaves containers alone that are not the platform's", async () => {
  const soon = Date.now() + 60_000;
  const runtime = runtimeWith(() => [line('secret', soon)], {} as { 'heptad.io/container': string });
  await using shipper = shipperOf(runtime);
  await systemClock.sleep(50);
  await shipper[Symbol.asyncDispose]();
  expect(requests).toBe(0);
});
