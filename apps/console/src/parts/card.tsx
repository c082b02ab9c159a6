// A section of the page: title, tools, and its three states besides content (loading, empty, failed).

import type { ReactNode } from 'react';
import type { ProblemError } from '../api/problem.ts';
import { ProblemNotice } from './problem-notice.tsx';

interface CardProps {
  readonly id: string;
  readonly title: string;
  /** Beside the title: a count or a state. */
  readonly note?: ReactNode;
  readonly tools?: ReactNode;
  readonly children: ReactNode;
}

/** A titled section. */
export function Card({ id, title, note, tools, children }: CardProps) {
  return (
    <section className="card" id={id} aria-labelledby={`${id}-title`}>
      <header className="card-head">
        <h2 id={`${id}-title`}>{title}</h2>
        {note !== undefined && <span className="card-note">{note}</span>}
        {tools !== undefined && <div className="card-tools">{tools}</div>}
      </header>
      {children}
    </section>
  );
}

interface DataStatesProps<T> {
  readonly data: T | undefined;
  readonly problem: ProblemError | undefined;
  readonly isEmpty?: (data: T) => boolean;
  /** What an empty list means and what to do. */
  readonly empty?: ReactNode;
  readonly rows?: number;
  readonly children: (data: T) => ReactNode;
}

/** Content when there is some; a skeleton before, a sentence when empty, and the problem when reading fails. */
export function DataStates<T>({ data, problem, isEmpty, empty, rows = 3, children }: DataStatesProps<T>) {
  // While the platform is away, the banner says so once; each section keeps showing what it last knew.
  const notice =
    problem !== undefined && (data === undefined || problem.status !== 0) ? (
      <ProblemNotice problem={problem} />
    ) : null;
  if (data === undefined) return notice ?? <Skeleton rows={rows} />;
  return (
    <>
      {notice}
      {isEmpty?.(data) === true ? <p className="empty">{empty}</p> : children(data)}
    </>
  );
}

function Skeleton({ rows }: { readonly rows: number }) {
  return (
    <div className="skeleton" role="status">
      <span className="sr-only">Loading…</span>
      {Array.from({ length: rows }, (_, row) => (
        // Rows of a placeholder have no identity but their place.
        <div key={`row-${row + 1}`} className="skeleton-row" />
      ))}
    </div>
  );
}
