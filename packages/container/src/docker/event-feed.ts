// The engine's events made ordered, numbered and lasting: listened to from the first moment, written down, replayed.

import { type Clock, type ContainerEvent, type ContainerId, errorMessage } from '@heptad/core';
import type { EventLog } from '../lifecycle/event-log.ts';
import type { DockerConnection } from './connection.ts';
import { jsonLines } from './json-stream.ts';
import { OWNER_LABEL } from './labels.ts';
import { type DockerEvent, parseEvent } from './schema.ts';
import { dockerTime } from './times.ts';
import { eventOf } from './translate-event.ts';

// After a broken stream (a restart of the daemon) it is opened again: quickly first, then every few seconds.
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 5_000;
// How many events are remembered to recognise those that a new stream repeats; the engine itself keeps 256.
const REMEMBERED = 1_024;

/** What a feed needs. */
export interface EventFeedOptions {
  readonly connection: DockerConnection;
  readonly owner: string;
  readonly log: EventLog;
  readonly clock: Clock;
  /** Hears of a container that became unhealthy, with all its labels. */
  readonly onUnhealthy: (id: ContainerId, labels: Readonly<Record<string, string>>) => void;
}

/** Copies the events of one owner's containers from the engine into an {@link EventLog}. */
export class EventFeed implements AsyncDisposable {
  private readonly connection: DockerConnection;
  private readonly owner: string;
  private readonly log: EventLog;
  private readonly clock: Clock;
  private readonly stop = new AbortController();
  private readonly seen = new Set<string>();
  private readonly outOfMemory = new Set<string>();
  private readonly execs = new Map<string, readonly string[]>();
  private readonly ended = new Set<string>();
  private readonly startedByHand = new Set<string>();
  private readonly onUnhealthy: (id: ContainerId, labels: Readonly<Record<string, string>>) => void;
  private readonly opened = Promise.withResolvers<void>();
  private since = 0;
  private running: Promise<void> = Promise.resolve();

  constructor(options: EventFeedOptions) {
    this.connection = options.connection;
    this.owner = options.owner;
    this.log = options.log;
    this.clock = options.clock;
    this.onUnhealthy = options.onUnhealthy;
  }

  /** An exec of ours is about to begin. The engine tells of those of health checks in the same words; they are left out. */
  expectExec(id: string, command: readonly string[]): void {
    this.execs.set(id, command);
  }

  /** The next start of a container is asked for, and no restart of the engine's. */
  expectStart(id: ContainerId): void {
    this.startedByHand.add(id);
  }

  /** Begins where the log ends, or now when it is empty; resolves when the engine has taken the request. */
  async start(): Promise<void> {
    const history = this.log.history();
    // Asking for what was since now, too: the engine answers a moment before it begins to listen for us.
    this.since = history.at(-1)?.at ?? this.clock.now();
    // What was written down before this process began may come once more: its marks are the same.
    for (const event of history.slice(-REMEMBERED)) this.remember(markOf(event));
    this.running = this.run();
    await this.opened.promise;
  }

  /** Ends the stream; what was read is written. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    let delayMs = RETRY_MIN_MS;
    while (!this.stop.signal.aborted) {
      try {
        await this.listen(() => {
          delayMs = RETRY_MIN_MS;
          this.opened.resolve();
        });
      } catch (error) {
        if (this.stop.signal.aborted) return;
        // The first failure is the caller's to hear; a later one is a daemon that restarts.
        this.opened.reject(error);
      }
      await this.clock.sleep(delayMs, this.stop.signal).catch((error: unknown) => errorMessage(error));
      delayMs = Math.min(delayMs * 2, RETRY_MAX_MS);
    }
  }

  private async listen(opened: () => void): Promise<void> {
    const doing = 'listen to Docker’s events';
    const filters = { type: ['container'], label: [`${OWNER_LABEL}=${this.owner}`] };
    const stream = await this.connection.stream({
      method: 'GET',
      path: '/events',
      query: { filters: JSON.stringify(filters), since: dockerTime(this.since) },
      signal: this.stop.signal,
      doing,
    });
    opened();
    for await (const line of jsonLines(stream, doing)) {
      const event = parseEvent(line);
      if (event !== undefined) await this.take(event);
    }
  }

  private async take(event: DockerEvent): Promise<void> {
    this.since = Math.max(this.since, Math.floor(event.timeNano / 1_000_000));
    const translated = eventOf(event);
    if (translated === undefined) return;
    const mark = markOf(translated);
    if (this.seen.has(mark)) return;
    this.remember(mark);
    const { execId, ...told } = translated;
    if (execId !== undefined) await this.takeExec(execId, told);
    else await this.takeTransition(told, event.Actor.Attributes ?? {});
  }

  private async takeExec(execId: string, told: Omit<ContainerEvent, 'sequence'>): Promise<void> {
    const command = this.execs.get(execId);
    if (command === undefined || told.exec === undefined) return;
    if (told.type === 'exec_die') this.execs.delete(execId);
    await this.log.append({ ...told, exec: { ...told.exec, command } });
  }

  private async takeTransition(
    told: Omit<ContainerEvent, 'sequence'>,
    attributes: Readonly<Record<string, string>>,
  ): Promise<void> {
    const { id, type, exit } = told;
    if (type === 'oom') this.outOfMemory.add(id);
    if (type === 'start') {
      this.outOfMemory.delete(id);
      // The engine's restart policy starts without a word; the contract has one for it.
      const asked = this.startedByHand.delete(id);
      if (!asked && this.ended.delete(id)) await this.log.append({ ...told, type: 'restart' });
    }
    if (type === 'die') this.ended.add(id);
    if (type === 'remove')
      for (const set of [this.outOfMemory, this.ended, this.startedByHand]) set.delete(id);
    const oomKilled = this.outOfMemory.has(id) && exit?.exitCode === 137;
    await this.log.append(exit === undefined ? told : { ...told, exit: { ...exit, oomKilled } });
    if (told.health === 'unhealthy') this.onUnhealthy(id, attributes);
  }

  private remember(mark: string): void {
    this.seen.add(mark);
    if (this.seen.size <= REMEMBERED) return;
    const [oldest] = this.seen;
    if (oldest !== undefined) this.seen.delete(oldest);
  }
}

/** Tells events apart: nothing makes the same transition twice within a millisecond. */
function markOf(event: {
  readonly at: number;
  readonly type: string;
  readonly id: string;
  readonly exec?: { readonly id: string };
}): string {
  return `${event.at} ${event.type} ${event.id} ${event.exec?.id ?? ''}`;
}
