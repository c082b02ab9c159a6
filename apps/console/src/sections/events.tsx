// What the platform does, as it does it, with its reasons.

import { useMemo, useState } from 'react';
import type { LiveEvents } from '../hooks/use-events.ts';
import { eventKey, objectName } from '../lib/events.ts';
import { formatTime } from '../lib/format.ts';
import { Badge } from '../parts/badge.tsx';
import { Card, DataStates } from '../parts/card.tsx';

/** The stream, pausable and filterable. */
export function Events({ live }: { readonly live: LiveEvents }) {
  const [filter, setFilter] = useState('');
  const shown = useMemo(() => {
    const wanted = filter.trim().toLowerCase();
    return live.events?.filter((event) =>
      `${event.object} ${event.op} ${event.because}`.toLowerCase().includes(wanted),
    );
  }, [live.events, filter]);
  return (
    <Card
      id="events"
      title="Events"
      note={
        live.paused ? (
          <Badge tone="idle">{live.waiting > 0 ? `Paused, ${live.waiting} new` : 'Paused'}</Badge>
        ) : (
          <Badge tone={live.connected ? 'good' : 'warn'}>{live.connected ? 'Live' : 'Reconnecting'}</Badge>
        )
      }
      tools={
        <>
          <input
            type="search"
            placeholder="Filter"
            aria-label="Filter events"
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
          <button type="button" aria-pressed={live.paused} onClick={() => live.setPaused(!live.paused)}>
            {live.paused ? 'Resume' : 'Pause'}
          </button>
        </>
      }
    >
      <DataStates
        data={shown}
        problem={live.events === undefined || live.problem?.status !== 0 ? live.problem : undefined}
        isEmpty={(events) => events.length === 0}
        empty={filter === '' ? 'Nothing has happened yet.' : `No event has “${filter}”.`}
      >
        {(events) => (
          // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard.
          <ol className="events" aria-label="Events, newest first" tabIndex={0}>
            {events.map((event) => {
              const { kind, name } = objectName(event.object);
              return (
                <li key={eventKey(event)}>
                  <time dateTime={new Date(event.at).toISOString()}>{formatTime(event.at)}</time>
                  <div>
                    <span className="event-head">
                      <span className="chip">{event.op}</span> {kind} <span className="strong">{name}</span>
                    </span>
                    <span className="sub">{event.because}</span>
                  </div>
                </li>
              );
            })}
          </ol>
        )}
      </DataStates>
    </Card>
  );
}
