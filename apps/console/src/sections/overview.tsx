// The first glance: what is wrong, if anything, and the four numbers that matter.

import type { ContainerResource, NodeResource, ServiceResource } from '../api/types.ts';
import { formatBytes, formatCpu } from '../lib/format.ts';
import type { Verdict } from '../lib/health.ts';

interface OverviewProps {
  readonly verdict: Verdict;
  readonly nodes: readonly NodeResource[] | undefined;
  readonly services: readonly ServiceResource[] | undefined;
  readonly containers: readonly ContainerResource[] | undefined;
}

/** Reasons shown; the sections below have all of them. */
const MAX_REASONS = 5;

/** Figures and reasons. */
export function Overview({ verdict, nodes, services, containers }: OverviewProps) {
  const sum = (pick: (node: NodeResource) => number): number | undefined =>
    nodes?.reduce((total, node) => total + pick(node), 0);
  const ready = services?.filter((service) => service.status.replicas.ready >= service.spec.replicas).length;
  const running = containers?.filter((container) => container.status.status === 'Running').length;
  const cpu = sum((node) => node.status.allocated.cpuMillis);
  const cpuTotal = sum((node) => node.spec.capacity.cpuMillis);
  const memory = sum((node) => node.status.allocated.memoryBytes);
  const memoryTotal = sum((node) => node.spec.capacity.memoryBytes);
  return (
    <div className="overview" id="top">
      {verdict.reasons.length > 0 && (
        <ul className={`reasons ${verdict.health}`} aria-label="What needs attention">
          {verdict.reasons.slice(0, MAX_REASONS).map((reason) => (
            <li key={reason}>{reason}</li>
          ))}
          {verdict.reasons.length > MAX_REASONS && <li>and {verdict.reasons.length - MAX_REASONS} more</li>}
        </ul>
      )}
      <dl className="figures">
        <Figure label="Services ready" value={ready} of={services?.length} />
        <Figure label="Containers running" value={running} of={containers?.length} />
        <Figure
          label="Nodes ready"
          value={nodes?.filter((node) => node.status.status === 'Ready').length}
          of={nodes?.length}
        />
        <Figure
          label="CPU reserved"
          value={cpu === undefined ? undefined : formatCpu(cpu)}
          of={cpuTotal === undefined ? undefined : formatCpu(cpuTotal)}
        />
        <Figure
          label="Memory reserved"
          value={memory === undefined ? undefined : formatBytes(memory)}
          of={memoryTotal === undefined ? undefined : formatBytes(memoryTotal)}
        />
      </dl>
    </div>
  );
}

function Figure({
  label,
  value,
  of,
}: {
  readonly label: string;
  readonly value: number | string | undefined;
  readonly of: number | string | undefined;
}) {
  return (
    <div className="figure">
      <dt>{label}</dt>
      <dd>
        {value ?? '–'}
        {of !== undefined && <small> / {of}</small>}
      </dd>
    </div>
  );
}
