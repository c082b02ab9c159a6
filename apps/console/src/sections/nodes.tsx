// Nodes: the machines, and how much of each is spoken for.

import type { NodeResource } from '../api/types.ts';
import type { Polled } from '../hooks/use-poll.ts';
import { now } from '../lib/clock.ts';
import { formatAge, formatBytes, formatCpu, plural } from '../lib/format.ts';
import { Badge, toneOf } from '../parts/badge.tsx';
import { Card, DataStates } from '../parts/card.tsx';
import { Meter } from '../parts/meter.tsx';

/** One block a node. */
export function Nodes({ nodes }: { readonly nodes: Polled<readonly NodeResource[]> }) {
  return (
    <Card
      id="nodes"
      title="Nodes"
      note={nodes.data === undefined ? undefined : plural(nodes.data.length, 'node')}
    >
      <DataStates
        data={nodes.data}
        problem={nodes.problem}
        isEmpty={(items) => items.length === 0}
        empty={
          <>
            No machine has joined. On each machine run <code>heptad agent --server URL --token T</code>.
          </>
        }
      >
        {(items) => (
          <ul className="nodes">
            {items.map((node) => (
              <NodeBlock key={node.id} node={node} />
            ))}
          </ul>
        )}
      </DataStates>
    </Card>
  );
}

function NodeBlock({ node }: { readonly node: NodeResource }) {
  const { capacity, address, zone, unschedulable, draining } = node.spec;
  const { allocated, status, runtime, heartbeatAt } = node.status;
  const facts = [
    address,
    zone,
    runtime && `${runtime.name}${runtime.version === undefined ? '' : ` ${runtime.version}`}`,
  ].filter(Boolean);
  const trouble = node.status.conditions.filter(
    (condition) => condition.status !== 'True' && condition.type === 'Ready',
  );
  return (
    <li className="node">
      <div className="node-head">
        <span className="strong">{node.name}</span>
        <Badge tone={toneOf(status)}>{status === 'NotReady' ? 'Not ready' : status}</Badge>
        {draining ? (
          <Badge tone="busy">Draining</Badge>
        ) : (
          unschedulable && <Badge tone="idle">Cordoned</Badge>
        )}
        <span className="sub">
          {facts.join(' · ')}
          {runtime !== undefined && ` · isolation ${runtime.isolation}`}
        </span>
        {status !== 'Ready' && (
          <span className="sub bad-text">last heard of {formatAge(heartbeatAt, now())} ago</span>
        )}
        {trouble.map((condition) => (
          <span key={condition.type} className="sub bad-text">
            {condition.message}
          </span>
        ))}
      </div>
      <div className="meters">
        <Meter label="CPU" used={allocated.cpuMillis} total={capacity.cpuMillis} format={formatCpu} />
        <Meter
          label="Memory"
          used={allocated.memoryBytes}
          total={capacity.memoryBytes}
          format={formatBytes}
        />
        <Meter
          label="Storage"
          used={allocated.storageBytes}
          total={capacity.storageBytes}
          format={formatBytes}
        />
        <Meter
          label="Network"
          used={allocated.networkMbps}
          total={capacity.networkMbps}
          format={(mbps) => `${mbps} Mbit/s`}
        />
      </div>
    </li>
  );
}
