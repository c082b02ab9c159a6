// Containers: each replica, where it runs, how isolated, what it uses; its logs in a drawer.

import { useMemo, useState } from 'react';
import type { ContainerResource } from '../api/types.ts';
import type { Polled } from '../hooks/use-poll.ts';
import { now } from '../lib/clock.ts';
import { formatAge, formatBytes, formatCpu, plural } from '../lib/format.ts';
import { Badge, toneOf } from '../parts/badge.tsx';
import { Card, DataStates } from '../parts/card.tsx';
import { LogDrawer } from './log-drawer.tsx';

/** What containers use, by container name. */
export interface Usage {
  /** Cores. */
  readonly cpu: ReadonlyMap<string, number>;
  readonly memoryBytes: ReadonlyMap<string, number>;
}

interface ContainersProps {
  readonly containers: Polled<readonly ContainerResource[]>;
  readonly usage: Usage | undefined;
}

/** The table of containers. */
export function Containers({ containers, usage }: ContainersProps) {
  const [logsOf, setLogsOf] = useState<string>();
  const [filter, setFilter] = useState('');
  const shown = useMemo(() => {
    const wanted = filter.trim().toLowerCase();
    const sorted = [...(containers.data ?? [])].sort((a, b) =>
      a.spec.service === b.spec.service
        ? a.spec.slot - b.spec.slot
        : a.spec.service < b.spec.service
          ? -1
          : 1,
    );
    return sorted.filter((one) =>
      [one.name, one.spec.service, one.spec.node ?? '', one.status.status].some((text) =>
        text.toLowerCase().includes(wanted),
      ),
    );
  }, [containers.data, filter]);
  const total = containers.data?.length ?? 0;
  return (
    <Card
      id="containers"
      title="Containers"
      note={
        containers.data === undefined
          ? undefined
          : shown.length === total
            ? plural(total, 'container')
            : `${shown.length} of ${total}`
      }
      tools={
        <input
          type="search"
          placeholder="Filter"
          aria-label="Filter containers by name, service, node or status"
          value={filter}
          onChange={(event) => setFilter(event.target.value)}
        />
      }
    >
      <DataStates
        data={containers.data}
        problem={containers.problem}
        isEmpty={(items) => items.length === 0}
        empty="No containers: nothing is deployed."
      >
        {() =>
          shown.length === 0 ? (
            <p className="empty">No container matches “{filter}”.</p>
          ) : (
            <div className="table-scroll">
              <table>
                <thead>
                  <tr>
                    <th scope="col">Container</th>
                    <th scope="col">Status</th>
                    <th scope="col">Node</th>
                    <th scope="col">Isolation</th>
                    <th scope="col">Address</th>
                    <th scope="col" className="number">
                      CPU
                    </th>
                    <th scope="col" className="number">
                      Memory
                    </th>
                    <th scope="col" className="number">
                      Restarts
                    </th>
                    <th scope="col" className="number">
                      Age
                    </th>
                    <th scope="col">
                      <span className="sr-only">Actions</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {shown.map((container) => (
                    <ContainerRow
                      key={container.id}
                      container={container}
                      usage={usage}
                      onLogs={() => setLogsOf(container.name)}
                    />
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </DataStates>
      {logsOf !== undefined && <LogDrawer container={logsOf} onClose={() => setLogsOf(undefined)} />}
    </Card>
  );
}

/** The word for people: running but not yet passing its health check is not the same as serving. */
function stateOf(container: ContainerResource): { word: string; tone: ReturnType<typeof toneOf> } {
  const { status, ready } = container.status;
  if (container.spec.drainUntil !== undefined) return { word: 'Draining', tone: 'busy' };
  if (status === 'Running' && !ready) return { word: 'Not ready', tone: 'warn' };
  return { word: status, tone: toneOf(status) };
}

interface ContainerRowProps {
  readonly container: ContainerResource;
  readonly usage: Usage | undefined;
  readonly onLogs: () => void;
}

function ContainerRow({ container, usage, onLogs }: ContainerRowProps) {
  const { spec, status } = container;
  const { word, tone } = stateOf(container);
  const find = (values: ReadonlyMap<string, number> | undefined): number | undefined =>
    values?.get(container.name) ??
    (status.runtimeId === undefined ? undefined : values?.get(status.runtimeId));
  const cores = find(usage?.cpu);
  const memory = find(usage?.memoryBytes);
  return (
    <tr>
      <th scope="row" data-label="Container">
        <span className="strong mono nowrap">{container.name}</span>
        <span className="sub">{spec.service}</span>
      </th>
      <td data-label="Status">
        <Badge tone={tone}>{word}</Badge>
        {word !== 'Running' && status.message !== '' && <span className="sub">{status.message}</span>}
      </td>
      <td data-label="Node">{spec.node ?? <span className="muted">waiting for a place</span>}</td>
      <td data-label="Isolation">{status.isolation ?? '–'}</td>
      <td data-label="Address" className="mono">
        {status.address ?? '–'}
      </td>
      <td data-label="CPU" className="number">
        {cores === undefined ? '–' : formatCpu(cores * 1000)}
      </td>
      <td data-label="Memory" className="number">
        {memory === undefined ? '–' : formatBytes(memory)}
      </td>
      <td data-label="Restarts" className={`number ${status.restarts > 0 ? 'warn-text' : ''}`}>
        {status.restarts}
      </td>
      <td data-label="Age" className="number">
        {formatAge(status.startedAt ?? container.createdAt, now())}
      </td>
      <td className="actions">
        <button type="button" onClick={onLogs} aria-label={`Logs of ${container.name}`}>
          Logs
        </button>
      </td>
    </tr>
  );
}
