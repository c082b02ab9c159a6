// Server-sent events: one resumable stream of what the platform does, for `heptad events -f` and the console.

import type { Clock, Timer } from '@heptad/core';
import type { FastifyReply } from 'fastify';

/** One event as it goes over the wire; `id` is what a client sends back as Last-Event-ID. */
export interface ServerEvent {
  readonly id: string;
  readonly type: string;
  readonly data: unknown;
}

/** Proxies close silent connections; a comment now and then keeps this one. */
const KEEP_ALIVE_MS = 15_000;

/** Streams events until the client leaves or the source ends. `startId` is the place it starts after. */
export async function streamEvents(
  reply: FastifyReply,
  source: AsyncIterable<ServerEvent>,
  controller: AbortController,
  clock: Clock,
  startId: string,
): Promise<void> {
  const out = reply.raw;
  reply.hijack();
  out.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
    connection: 'keep-alive',
  });
  // A client that is cut off before its first event resumes from here.
  out.write(`: connected\nid: ${startId}\n\n`);
  out.on('close', () => controller.abort());
  const keepAlive: Timer = clock.interval(KEEP_ALIVE_MS, () => out.write(': keep-alive\n\n'), {
    unref: true,
  });
  try {
    for await (const event of source) {
      const drained = out.write(
        `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event.data)}\n\n`,
      );
      // A slow reader must not make us hold its events in memory.
      if (!drained)
        await new Promise<void>((resolve) => {
          out.once('drain', resolve);
          out.once('close', resolve);
        });
      if (controller.signal.aborted) break;
    }
  } catch (error) {
    if (!controller.signal.aborted)
      out.write(`event: error\ndata: ${JSON.stringify({ message: String(error) })}\n\n`);
  } finally {
    keepAlive.cancel();
    out.end();
  }
}
