// The events shown on the page: the recent ones first, then each as it happens; pausable.

import { useCallback, useEffect, useRef, useState } from 'react';
import type { ApiClient } from '../api/client.ts';
import { followEvents } from '../api/event-stream.ts';
import { type ProblemError, toProblemError } from '../api/problem.ts';
import type { ListPage, PlatformEvent } from '../api/types.ts';
import { mergeEvents, parseEvent } from '../lib/events.ts';

/** Events and the state of their stream. */
export interface LiveEvents {
  /** Newest first; undefined before the first answer. */
  readonly events: readonly PlatformEvent[] | undefined;
  /** Why no live events arrive. */
  readonly problem: ProblemError | undefined;
  readonly connected: boolean;
  readonly paused: boolean;
  /** Events that arrived since the pause began. */
  readonly waiting: number;
  readonly setPaused: (paused: boolean) => void;
}

/** Follows the events; `onEvents` is told of every new batch, paused or not. */
export function useEvents(client: ApiClient, onEvents: () => void): LiveEvents {
  const [all, setAll] = useState<readonly PlatformEvent[]>();
  const [frozen, setFrozen] = useState<readonly PlatformEvent[]>();
  const [problem, setProblem] = useState<ProblemError>();
  const [connected, setConnected] = useState(false);
  const tell = useRef(onEvents);
  tell.current = onEvents;

  useEffect(() => {
    const stop = new AbortController();
    // The stream first, then the recent ones: what happens in between is in both and is shown once.
    const unfollow = followEvents(client, {
      events: (events) => {
        if (events.length === 0) return;
        setAll((known) => mergeEvents(known ?? [], events));
        tell.current();
      },
      state: (failure) => {
        setProblem(failure);
        setConnected(failure === undefined);
      },
    });
    client
      .get<ListPage<unknown>>('/api/v1/events/recent?limit=200', stop.signal)
      .then(({ items }) => {
        const recent = items.map(parseEvent).filter((event) => event !== undefined);
        setAll((known) => mergeEvents(known ?? [], recent));
      })
      .catch((error: unknown) => {
        if (!stop.signal.aborted) setProblem((before) => before ?? toProblemError(error));
      });
    return () => {
      stop.abort();
      unfollow();
    };
  }, [client]);

  const setPaused = useCallback((paused: boolean) => setFrozen(paused ? (all ?? []) : undefined), [all]);
  const newest = frozen?.[0]?.at ?? Number.NEGATIVE_INFINITY;
  return {
    events: frozen ?? all,
    problem,
    connected,
    paused: frozen !== undefined,
    waiting: frozen === undefined ? 0 : (all ?? []).filter((event) => event.at > newest).length,
    setPaused,
  };
}
