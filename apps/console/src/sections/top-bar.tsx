// The head of the page: the state of the whole in one word, ways to the sections, and the user.

import type { Session } from '../api/types.ts';
import { THEMES, type Theme } from '../hooks/use-theme.ts';
import { capitalised } from '../lib/format.ts';
import type { Verdict } from '../lib/health.ts';
import { Badge, toneOf } from '../parts/badge.tsx';
import { Logo } from '../parts/logo.tsx';

interface TopBarProps {
  readonly session: Session;
  readonly verdict: Verdict;
  /** The platform does not answer: what is known may be long past. */
  readonly away: boolean;
  readonly theme: Theme;
  readonly onTheme: (theme: Theme) => void;
  readonly onLogout: () => void;
}

const SECTIONS = [
  ['services', 'Services'],
  ['traffic', 'Traffic'],
  ['containers', 'Containers'],
  ['nodes', 'Nodes'],
  ['events', 'Events'],
  ['storage', 'Storage'],
] as const;

/** Sticks to the top. */
export function TopBar({ session, verdict, away, theme, onTheme, onLogout }: TopBarProps) {
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'auto';
  return (
    <header className="top-bar">
      <div className="top-bar-inner">
        <a className="brand" href="#top" aria-label="Heptad, to the top">
          <Logo />
          <span>Heptad</span>
        </a>
        {away ? (
          <Badge tone="warn">Not answering</Badge>
        ) : (
          <Badge tone={toneOf(verdict.health)} title={verdict.reasons.join('\n')}>
            {verdict.health === 'unknown' ? 'Connecting…' : capitalised(verdict.health)}
          </Badge>
        )}
        <nav aria-label="Sections">
          {SECTIONS.map(([id, label]) => (
            <a key={id} href={`#${id}`}>
              {label}
            </a>
          ))}
          <a href="/docs">API</a>
        </nav>
        <div className="top-bar-user">
          <button
            type="button"
            className="quiet"
            onClick={() => onTheme(next)}
            aria-label={`Theme: ${theme}. Switch to ${next}`}
          >
            {theme === 'auto' ? '◐' : theme === 'light' ? '☀' : '☾'}
          </button>
          <span className="user" title={`Roles: ${session.user.roles.join(', ') || 'none'}`}>
            {session.user.name}
          </span>
          <button type="button" className="quiet" onClick={onLogout}>
            Log out
          </button>
        </div>
      </div>
    </header>
  );
}
