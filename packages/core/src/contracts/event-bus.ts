// EventBus: durable topics with consumer groups, at least once.

import type { Instant } from '../ports/clock.ts';

/** Where an event stands in its topic: 1, 2, 3... without gaps. */
export type Position = number;

/** An event to publish. */
export interface NewEvent {
  /** Events with the same key are delivered in order within a group. */
  readonly key?: string;
  /** JSON-serialisable, at most 1 MiB as text. */
  readonly data: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** A second publish with the same id within 10 minutes answers the first one's position and adds nothing. */
  readonly id?: string;
}

/** An event as a subscriber gets it. */
export interface DeliveredEvent {
  readonly topic: string;
  readonly position: Position;
  readonly key?: string;
  readonly data: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly publishedAt: Instant;
  /** 1 at the first delivery to this group, more after a failure or a lost consumer. */
  readonly attempt: number;
}

/** A running subscription. */
export interface Subscription extends AsyncDisposable {
  /** Stops taking events, waits for the running handler. */
  close(): Promise<void>;
}

/**
 * - `publish` resolves when the event is durable.
 * - Each group gets every event from where it began, at least once, to one of its members; the handler's return is the
 *   acknowledgement, its rejection brings the event again after a back-off.
 * - Topics: `[a-z0-9][a-z0-9.-]*`, at most 128.
 */
export interface EventBus extends AsyncDisposable {
  publish(topic: string, event: NewEvent): Promise<Position>;
  subscribe(
    topic: string,
    options: { group: string; from?: 'beginning' | 'end'; signal?: AbortSignal },
    handler: (event: DeliveredEvent) => Promise<void>,
  ): Subscription;
  /** Events after a position, for reading without a group. */
  read(topic: string, options?: { after?: Position; limit?: number }): Promise<DeliveredEvent[]>;
}
