// Alerts, storage and disaster recovery: what watches over the rest.

import type { AlertResource, RecoveryStatus, StorageSummary } from '../api/types.ts';
import type { Polled } from '../hooks/use-poll.ts';
import { now } from '../lib/clock.ts';
import { capitalised, formatAge, formatBytes, formatPercent, plural } from '../lib/format.ts';
import { Badge, toneOf } from '../parts/badge.tsx';
import { Card, DataStates } from '../parts/card.tsx';
import { Meter } from '../parts/meter.tsx';

const STATE_ORDER = ['firing', 'pending', 'inactive'];

/** Alert rules, those that fire first. */
export function Alerts({ alerts }: { readonly alerts: Polled<readonly AlertResource[]> }) {
  const firing = alerts.data?.filter((alert) => alert.status.state === 'firing').length ?? 0;
  return (
    <Card
      id="alerts"
      title="Alerts"
      note={
        alerts.data === undefined ? undefined : firing > 0 ? (
          <Badge tone="bad">{firing} firing</Badge>
        ) : (
          'none firing'
        )
      }
    >
      <DataStates
        data={alerts.data}
        problem={alerts.problem}
        isEmpty={(items) => items.length === 0}
        empty="No alert rules. PUT /api/v1/alerts/NAME adds one."
        rows={2}
      >
        {(items) => (
          <ul className="plain-list">
            {[...items]
              .sort((a, b) => STATE_ORDER.indexOf(a.status.state) - STATE_ORDER.indexOf(b.status.state))
              .map((alert) => (
                <li key={alert.id}>
                  <div className="row">
                    <span className="strong">{alert.name}</span>
                    <Badge tone={toneOf(alert.status.state)}>
                      {alert.status.state === 'inactive' ? 'Quiet' : capitalised(alert.status.state)}
                      {alert.status.since !== undefined &&
                        alert.status.state !== 'inactive' &&
                        ` for ${formatAge(alert.status.since, now())}`}
                    </Badge>
                  </div>
                  <span className="sub">
                    {alert.spec.severity}: {alert.spec.summary}
                  </span>
                  <code className="expression">{alert.spec.expression}</code>
                </li>
              ))}
          </ul>
        )}
      </DataStates>
    </Card>
  );
}

/** The storage nodes and how well the data is kept. */
export function Storage({ storage }: { readonly storage: Polled<StorageSummary> }) {
  const { data } = storage;
  return (
    <Card
      id="storage"
      title="Storage"
      note={
        data === undefined ? undefined : <Badge tone={toneOf(data.health)}>{capitalised(data.health)}</Badge>
      }
    >
      <DataStates
        data={data}
        problem={storage.problem}
        isEmpty={({ nodes }) => nodes.length === 0}
        empty={data?.message ?? ''}
      >
        {({ nodes, replicationFactor, partitions }) => (
          <>
            <p className="facts">
              {plural(replicationFactor, 'copy').replace('copys', 'copies')} of everything
              {partitions.underReplicated > 0 && (
                <span className="warn-text">
                  ; {partitions.underReplicated} of {partitions.total} partitions have too few
                </span>
              )}
            </p>
            <ul className="plain-list">
              {nodes.map((node) => (
                <li key={node.id}>
                  <div className="row">
                    <span className="strong">{node.id}</span>
                    <Badge tone={toneOf(node.state)}>{capitalised(node.state)}</Badge>
                  </div>
                  <span className="sub">
                    <span className="mono">{node.address}</span> · {plural(node.objects, 'object')}
                  </span>
                  <Meter
                    label="Space"
                    used={node.usedBytes}
                    total={node.capacityBytes}
                    format={formatBytes}
                  />
                </li>
              ))}
            </ul>
          </>
        )}
      </DataStates>
    </Card>
  );
}

/** Centres and how likely a failover is soon. */
export function Recovery({ recovery }: { readonly recovery: Polled<RecoveryStatus> }) {
  return (
    <Card id="recovery" title="Disaster recovery">
      <DataStates data={recovery.data} problem={recovery.problem} rows={2}>
        {({ centers, prediction, message }) => (
          <>
            <p className="facts">{message}</p>
            {prediction?.probability !== undefined && (
              <Meter
                label="Probability of a failure within a minute"
                used={prediction.probability}
                total={1}
                format={formatPercent}
                text={formatPercent(prediction.probability)}
              />
            )}
            <ul className="plain-list">
              {centers.map((center) => (
                <li key={center.id}>
                  <div className="row">
                    <span className="strong">{center.name}</span>
                    <Badge tone={toneOf(center.status.role)}>{capitalised(center.status.role)}</Badge>
                  </div>
                  <span className="sub">
                    <span className="mono">{center.spec.address}</span> · generation{' '}
                    {center.status.generation}
                    {center.status.lagMs !== undefined && ` · ${center.status.lagMs} ms behind`}
                    {center.status.phi !== undefined && ` · φ ${center.status.phi.toFixed(1)}`}
                  </span>
                  {center.status.message !== '' && <span className="sub">{center.status.message}</span>}
                </li>
              ))}
            </ul>
          </>
        )}
      </DataStates>
    </Card>
  );
}
