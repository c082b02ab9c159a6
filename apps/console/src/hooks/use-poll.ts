// Data that is read again and again while somebody looks at the page.

import { useCallback, useEffect, useRef, useState } from 'react';
import { type ProblemError, toProblemError } from '../api/problem.ts';
import { every } from '../lib/clock.ts';

/** Data with what is wrong with it. */
export interface Polled<T> {
  /** The newest good answer; stays while later ones fail. */
  readonly data: T | undefined;
  /** Why the newest try failed. */
  readonly problem: ProblemError | undefined;
  /** Reads again now. */
  readonly refresh: () => void;
}

/** Calls `read` now, every `everyMs` while the page is visible, and whenever `read` itself changes. One at a time. */
export function usePoll<T>(read: (signal: AbortSignal) => Promise<T>, everyMs: number): Polled<T> {
  const [state, setState] = useState<{ data: T | undefined; problem: ProblemError | undefined }>({
    data: undefined,
    problem: undefined,
  });
  const busy = useRef(false);
  const again = useRef(false);
  const run = useRef<() => void>(() => {});

  useEffect(() => {
    const stop = new AbortController();
    busy.current = false;
    const once = async (): Promise<void> => {
      if (busy.current) {
        again.current = true;
        return;
      }
      busy.current = true;
      try {
        const data = await read(stop.signal);
        if (!stop.signal.aborted) setState({ data, problem: undefined });
      } catch (error) {
        if (!stop.signal.aborted)
          setState((before) => ({ data: before.data, problem: toProblemError(error) }));
      }
      if (stop.signal.aborted) return;
      busy.current = false;
      if (again.current) {
        again.current = false;
        void once();
      }
    };
    run.current = () => void once();
    void once();
    const cancel = every(everyMs, () => {
      if (document.visibilityState === 'visible') void once();
    });
    const seen = (): void => {
      if (document.visibilityState === 'visible') void once();
    };
    document.addEventListener('visibilitychange', seen);
    return () => {
      stop.abort();
      cancel();
      document.removeEventListener('visibilitychange', seen);
    };
  }, [read, everyMs]);

  const refresh = useCallback(() => run.current(), []);
  return { ...state, refresh };
}
