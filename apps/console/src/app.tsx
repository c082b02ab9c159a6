// The console: logged out, the way in; logged in, the platform on one page.

import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { ApiClient } from './api/client.ts';
import { toLookup } from './api/query.ts';
import type {
  AlertResource,
  ContainerResource,
  NodeResource,
  QueryAnswer,
  RecoveryStatus,
  ServiceResource,
  Session,
  StorageSummary,
} from './api/types.ts';
import { useEvents } from './hooks/use-events.ts';
import { type Platform, PlatformContext } from './hooks/use-platform.ts';
import { usePoll } from './hooks/use-poll.ts';
import { useTheme } from './hooks/use-theme.ts';
import { after } from './lib/clock.ts';
import { verdict } from './lib/health.ts';
import { Containers, type Usage } from './sections/containers.tsx';
import { Events } from './sections/events.tsx';
import { Login } from './sections/login.tsx';
import { Nodes } from './sections/nodes.tsx';
import { Alerts, Recovery, Storage } from './sections/operations.tsx';
import { Overview } from './sections/overview.tsx';
import { Services } from './sections/services.tsx';
import { TopBar } from './sections/top-bar.tsx';
import { TrafficCharts } from './sections/traffic.tsx';

/** What changes while somebody looks. Events make these read at once, so this is only for what has no event. */
const FAST_MS = 3_000;
const SLOW_MS = 10_000;
const ANNOUNCEMENT_MS = 5_000;
/** Events come in bursts: one reading after each burst. */
const AFTER_EVENT_MS = 150;

/** Everything. */
export function App() {
  const [session, setSession] = useState<Session>();
  const [why, setWhy] = useState<string>();
  const client = useMemo(
    () =>
      new ApiClient({
        changed: (next, reason) => {
          setSession(next);
          setWhy(reason);
        },
      }),
    [],
  );
  // A session of before a reload of the page.
  useEffect(() => setSession(client.session), [client]);
  const theme = useTheme();
  const current = session ?? client.session;
  if (current === undefined) return <Login client={client} why={why} />;
  return <Console key={current.user.name} client={client} session={current} theme={theme} />;
}

interface ConsoleProps {
  readonly client: ApiClient;
  readonly session: Session;
  readonly theme: ReturnType<typeof useTheme>;
}

/** Marks services that belong to the platform itself: people neither scale nor roll them back. */
const SYSTEM_LABEL = 'heptad.io/system';

async function listServices(client: ApiClient, signal: AbortSignal): Promise<ServiceResource[]> {
  const all = await client.list<ServiceResource>('/api/v1/services', signal);
  return all.filter((service) => service.labels[SYSTEM_LABEL] === undefined);
}

function usePlatformData(client: ApiClient) {
  const nodes = usePoll(
    useCallback((signal: AbortSignal) => client.list<NodeResource>('/api/v1/nodes', signal), [client]),
    FAST_MS,
  );
  const services = usePoll(
    useCallback((signal: AbortSignal) => listServices(client, signal), [client]),
    FAST_MS,
  );
  const containers = usePoll(
    useCallback(
      (signal: AbortSignal) => client.list<ContainerResource>('/api/v1/containers', signal),
      [client],
    ),
    FAST_MS,
  );
  const alerts = usePoll(
    useCallback((signal: AbortSignal) => client.list<AlertResource>('/api/v1/alerts', signal), [client]),
    SLOW_MS,
  );
  const storage = usePoll(
    useCallback((signal: AbortSignal) => client.get<StorageSummary>('/api/v1/storage', signal), [client]),
    SLOW_MS,
  );
  const recovery = usePoll(
    useCallback((signal: AbortSignal) => client.get<RecoveryStatus>('/api/v1/dr/status', signal), [client]),
    SLOW_MS,
  );
  const usage = usePoll(
    useCallback((signal: AbortSignal) => readUsage(client, signal), [client]),
    SLOW_MS,
  );
  return { nodes, services, containers, alerts, storage, recovery, usage };
}

async function readUsage(client: ApiClient, signal: AbortSignal): Promise<Usage> {
  const ask = (query: string): Promise<QueryAnswer> =>
    client.get(`/api/v1/monitoring/query?${new URLSearchParams({ query })}`, signal);
  const [cpu, memory] = await Promise.all([
    ask('sum by (container) (rate(container_cpu_seconds_total[1m]))'),
    ask('max by (container) (container_memory_bytes)'),
  ]);
  return { cpu: toLookup(cpu, 'container'), memoryBytes: toLookup(memory, 'container') };
}

function Console({ client, session, theme }: ConsoleProps) {
  const [announcement, setAnnouncement] = useState('');
  const platform = useMemo<Platform>(
    () => ({
      client,
      session,
      mayOperate: session.user.roles.some((role) => role === 'admin' || role === 'operator'),
      announce: (message) => {
        setAnnouncement(message);
        after(ANNOUNCEMENT_MS, () => setAnnouncement((shown) => (shown === message ? '' : shown)));
      },
    }),
    [client, session],
  );
  const data = usePlatformData(client);
  const { nodes, services, containers, alerts, storage, recovery, usage } = data;

  const planned = useRef<() => void>(undefined);
  const live = useEvents(client, () => {
    planned.current?.();
    planned.current = after(AFTER_EVENT_MS, () => {
      for (const part of [nodes, services, containers]) part.refresh();
    });
  });

  const state = verdict({
    nodes: nodes.data,
    services: services.data,
    alerts: alerts.data,
    storage: storage.data,
  });
  const away = [nodes, services, containers].every(({ problem }) => problem?.status === 0);
  const names = useMemo(() => (services.data ?? []).map((service) => service.name), [services.data]);
  useEffect(() => {
    document.title =
      state.health === 'healthy' || state.health === 'unknown' ? 'Heptad' : `(!) ${state.health} – Heptad`;
  }, [state.health]);

  return (
    <PlatformContext value={platform}>
      <a className="skip-link" href="#services">
        Skip to the services
      </a>
      <TopBar
        session={session}
        verdict={state}
        away={away}
        theme={theme.theme}
        onTheme={theme.setTheme}
        onLogout={() => client.logout()}
      />
      {away && (
        <div className="banner" role="alert">
          <span>
            The platform does not answer. What you see is what was last known; services go on running. Trying
            again…
          </span>
          <button
            type="button"
            onClick={() => {
              for (const part of [nodes, services, containers]) part.refresh();
            }}
          >
            Try now
          </button>
        </div>
      )}
      <main className={away ? 'page stale' : 'page'}>
        <Overview verdict={state} nodes={nodes.data} services={services.data} containers={containers.data} />
        <div className="columns">
          <div className="column">
            <Services services={services} />
            <TrafficCharts services={names} paint={theme.paint} />
            <Containers containers={containers} usage={usage.data} />
            <Nodes nodes={nodes} />
          </div>
          <div className="column side">
            <Events live={live} />
            <Alerts alerts={alerts} />
            <Storage storage={storage} />
            <Recovery recovery={recovery} />
          </div>
        </div>
      </main>
      <div className={announcement === '' ? 'toast' : 'toast shown'} role="status" aria-live="polite">
        {announcement}
      </div>
    </PlatformContext>
  );
}
