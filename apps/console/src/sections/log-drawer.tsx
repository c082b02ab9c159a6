// A container's output, live, with filter and pause.

import { useEffect, useMemo, useRef, useState } from 'react';
import { followLogs } from '../api/log-stream.ts';
import { type ProblemError, toProblemError } from '../api/problem.ts';
import type { LogLine } from '../api/types.ts';
import { usePlatform } from '../hooks/use-platform.ts';
import { formatTime, plural } from '../lib/format.ts';
import { Dialog } from '../parts/dialog.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';

/** Older lines go: this is for looking, `heptad logs` is for searching. */
const MAX_LINES = 2_000;

interface NumberedLine extends LogLine {
  readonly number: number;
}

/** The newest lines at the bottom; it follows as long as one is there. */
export function LogDrawer({
  container,
  onClose,
}: {
  readonly container: string;
  readonly onClose: () => void;
}) {
  const { client } = usePlatform();
  const [lines, setLines] = useState<readonly NumberedLine[]>([]);
  const [state, setState] = useState<'reading' | 'ended'>('reading');
  const [problem, setProblem] = useState<ProblemError>();
  const [filter, setFilter] = useState('');
  const [following, setFollowing] = useState(true);
  const end = useRef<HTMLDivElement>(null);

  useEffect(() => {
    const stop = new AbortController();
    let count = 0;
    const add = (more: readonly LogLine[]): void => {
      const numbered = more.map((line) => {
        count += 1;
        return { ...line, number: count };
      });
      setLines((known) => [...known, ...numbered].slice(-MAX_LINES));
    };
    setLines([]);
    followLogs(client, container, add, stop.signal)
      .then(() => setState('ended'))
      .catch((error: unknown) => {
        if (!stop.signal.aborted) setProblem(toProblemError(error));
      });
    return () => stop.abort();
  }, [client, container]);

  const shown = useMemo(() => {
    const wanted = filter.toLowerCase();
    return wanted === '' ? lines : lines.filter((line) => line.text.toLowerCase().includes(wanted));
  }, [lines, filter]);

  useEffect(() => {
    if (following) end.current?.scrollIntoView({ block: 'end' });
  }, [shown, following]);

  return (
    <Dialog
      kind="drawer"
      title={`Logs of ${container}`}
      onClose={onClose}
      tools={
        <>
          <input
            type="search"
            placeholder="Filter"
            aria-label="Filter lines"
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
          <button type="button" aria-pressed={!following} onClick={() => setFollowing(!following)}>
            {following ? 'Stop scrolling' : 'Follow'}
          </button>
        </>
      }
    >
      {problem !== undefined && <ProblemNotice problem={problem} />}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard. */}
      <div className="log" role="log" aria-label={`Output of ${container}`} tabIndex={0}>
        {shown.map((line) => (
          <div key={line.number} className={`log-line ${line.stream}`}>
            <time>{Number.isNaN(line.at) ? '' : formatTime(line.at)}</time>
            <span>{line.text}</span>
          </div>
        ))}
        {shown.length === 0 && problem === undefined && (
          <p className="empty">
            {lines.length > 0
              ? `No line has “${filter}”.`
              : state === 'ended'
                ? 'It has written nothing.'
                : 'Waiting for output…'}
          </p>
        )}
        <div ref={end} />
      </div>
      <p className="log-foot">
        {plural(shown.length, 'line')}
        {state === 'ended' ? '; the output has ended' : '; live'}
      </p>
    </Dialog>
  );
}
