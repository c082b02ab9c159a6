// Docker's events: those of containers from the engine's own log, those of images, volumes and networks from the API.

import type { ContainerEvent, ContainerRuntime } from '@heptad/core';

// As Docker keeps, so that `since` finds a little of the past.
const MAX_KEPT = 256;
// A reader that is further behind than this is not reading; it is let go instead of filling memory.
const MAX_BEHIND = 10_000;

/** An event in Docker's words. */
export interface ApiEvent {
  readonly Type: 'container' | 'image' | 'volume' | 'network';
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly time: number;
  readonly timeNano: number;
}

const NANOS_PER_MILLI = 1_000_000;

/** Makes an event. */
export function apiEvent(
  type: ApiEvent['Type'],
  action: string,
  id: string,
  at: number,
  attributes: Readonly<Record<string, string>> = {},
): ApiEvent {
  return {
    Type: type,
    Action: action,
    Actor: { ID: id, Attributes: attributes },
    time: Math.floor(at / 1000),
    timeNano: at * NANOS_PER_MILLI,
  };
}

const ACTIONS: Readonly<Record<ContainerEvent['type'], string>> = {
  create: 'create',
  start: 'start',
  pause: 'pause',
  resume: 'unpause',
  stop: 'stop',
  die: 'die',
  oom: 'oom',
  remove: 'destroy',
  update: 'update',
  rename: 'rename',
  restart: 'restart',
  health_status: 'health_status',
  exec_start: 'exec_start',
  exec_die: 'exec_die',
};

/** A container's event in Docker's words. */
export function containerEvent(event: ContainerEvent, image: string): ApiEvent {
  const action = ACTIONS[event.type];
  const detail =
    event.health !== undefined
      ? `: ${event.health}`
      : event.type === 'exec_start' && event.exec !== undefined
        ? `: ${event.exec.command.join(' ')}`
        : '';
  return apiEvent('container', `${action}${detail}`, event.id, event.at, {
    ...event.labels,
    image,
    name: event.name,
    ...(event.exit === undefined ? {} : { exitCode: String(event.exit.exitCode) }),
    ...(event.exec === undefined ? {} : { execID: event.exec.id }),
    ...(event.exec?.exitCode === undefined ? {} : { exitCode: String(event.exec.exitCode) }),
    ...(event.oldName === undefined ? {} : { oldName: `/${event.oldName}` }),
  });
}

type Listener = (event: ApiEvent) => void;

/** Collects events of all kinds and hands them to any number of readers. */
export class ApiEvents {
  private readonly kept: ApiEvent[] = [];
  private readonly listeners = new Set<Listener>();

  /** Tells all readers. */
  emit(event: ApiEvent): void {
    this.kept.push(event);
    if (this.kept.length > MAX_KEPT) this.kept.shift();
    for (const listener of [...this.listeners]) listener(event);
  }

  /** Copies the events of a runtime's containers until the signal aborts; `hear` is told of each first. */
  async copy(
    runtime: ContainerRuntime,
    imageOf: (event: ContainerEvent) => string,
    hear: (event: ContainerEvent) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    for await (const event of runtime.events({ signal })) {
      this.emit(containerEvent(event, imageOf(event)));
      await hear(event);
    }
  }

  /** Kept events from `since` on, then new ones, in order; ends with the signal, or with a reader hopelessly behind. */
  async *follow(since: number | undefined, signal: AbortSignal): AsyncGenerator<ApiEvent> {
    const queue: ApiEvent[] =
      since === undefined ? [] : this.kept.filter((event) => event.timeNano >= since * NANOS_PER_MILLI);
    let wake: () => void = () => undefined;
    let lost = false;
    const listener = (event: ApiEvent): void => {
      if (queue.length >= MAX_BEHIND) lost = true;
      else queue.push(event);
      wake();
    };
    const onAbort = (): void => wake();
    this.listeners.add(listener);
    signal.addEventListener('abort', onAbort);
    try {
      while (!signal.aborted && !lost) {
        const next = queue.shift();
        if (next !== undefined) {
          yield next;
          continue;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      this.listeners.delete(listener);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** What is kept, oldest first. */
  history(): readonly ApiEvent[] {
    return this.kept;
  }
}
