// A state as word, colour and shape: never colour alone.

import type { ReactNode } from 'react';

export type Tone = 'good' | 'warn' | 'bad' | 'idle' | 'busy';

const SHAPES: Readonly<Record<Tone, ReactNode>> = {
  good: <circle cx="5" cy="5" r="4" />,
  warn: <path d="M5 0.8 9.6 9.2H0.4z" />,
  bad: <path d="M1 1h8v8H1z" />,
  idle: <circle cx="5" cy="5" r="3.2" fill="none" stroke="currentColor" strokeWidth="1.6" />,
  busy: <path d="M5 0.5 9.5 5 5 9.5 0.5 5z" />,
};

/** A word with its tone. */
export function Badge({
  tone,
  children,
  title,
}: {
  readonly tone: Tone;
  readonly children: ReactNode;
  readonly title?: string;
}) {
  return (
    <span className={`badge ${tone}`} title={title}>
      <svg viewBox="0 0 10 10" aria-hidden="true">
        {SHAPES[tone]}
      </svg>
      {children}
    </span>
  );
}

const TONES: Readonly<Record<string, Tone>> = {
  Ready: 'good',
  NotReady: 'bad',
  Unknown: 'warn',
  Running: 'good',
  Pending: 'busy',
  Paused: 'idle',
  Succeeded: 'idle',
  Failed: 'bad',
  healthy: 'good',
  degraded: 'warn',
  critical: 'bad',
  unavailable: 'bad',
  unknown: 'idle',
  up: 'good',
  down: 'bad',
  primary: 'good',
  backup: 'idle',
  witness: 'idle',
  fenced: 'bad',
  firing: 'bad',
  pending: 'busy',
  inactive: 'good',
};

/** The tone of a state word of the platform. */
export function toneOf(state: string): Tone {
  return TONES[state] ?? 'idle';
}
