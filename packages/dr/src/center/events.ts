// What happened at a centre, for people and programs: the latest events, and who listens.

import type { Clock } from '@heptad/core';

/** What kind of thing happened. */
export type CenterEventKind =
  | 'role'
  | 'election'
  | 'suspicion'
  | 'replication'
  | 'decision'
  | 'divergence'
  | 'prediction';

/** One thing that happened. */
export interface CenterEvent {
  readonly sequence: number;
  /** Wall time. */
  readonly at: number;
  readonly center: string;
  readonly kind: CenterEventKind;
  readonly message: string;
}

/** Events kept for {@link CenterEvents.recent}. */
const EVENTS_MAX = 500;

/** The events of one centre. */
export class CenterEvents {
  readonly #center: string;
  readonly #clock: Clock;
  readonly #recent: CenterEvent[] = [];
  readonly #listeners = new Set<(event: CenterEvent) => void>();
  #sequence = 0;

  constructor(center: string, clock: Clock) {
    this.#center = center;
    this.#clock = clock;
  }

  emit(kind: CenterEventKind, message: string): void {
    this.#sequence += 1;
    const event = { sequence: this.#sequence, at: this.#clock.now(), center: this.#center, kind, message };
    this.#recent.push(event);
    if (this.#recent.length > EVENTS_MAX) this.#recent.shift();
    for (const listener of this.#listeners) listener(event);
  }

  get recent(): readonly CenterEvent[] {
    return [...this.#recent];
  }

  listen(listener: (event: CenterEvent) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }
}
