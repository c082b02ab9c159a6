// Services: what runs, how well, where to reach it; scaling and rolling back with confirmation.

import { useState } from 'react';
import type { ServiceResource } from '../api/types.ts';
import { usePlatform } from '../hooks/use-platform.ts';
import type { Polled } from '../hooks/use-poll.ts';
import { capitalised, plural } from '../lib/format.ts';
import { isStarting, serviceHealth } from '../lib/health.ts';
import { Badge, toneOf } from '../parts/badge.tsx';
import { Card, DataStates } from '../parts/card.tsx';
import { RollbackDialog, ScaleDialog } from './service-dialogs.tsx';

type Doing = { readonly what: 'scale' | 'rollback'; readonly service: ServiceResource };

/** The table of services. */
export function Services({ services }: { readonly services: Polled<readonly ServiceResource[]> }) {
  const { mayOperate } = usePlatform();
  const [doing, setDoing] = useState<Doing>();
  const close = (): void => setDoing(undefined);
  return (
    <Card
      id="services"
      title="Services"
      note={services.data === undefined ? undefined : plural(services.data.length, 'service')}
    >
      <DataStates
        data={services.data}
        problem={services.problem}
        isEmpty={(items) => items.length === 0}
        empty={
          <>
            Nothing is deployed yet. Deploy a Compose file with <code>heptad apply -f compose.yaml</code>.
          </>
        }
      >
        {(items) => (
          <div className="table-scroll">
            <table>
              <thead>
                <tr>
                  <th scope="col">Service</th>
                  <th scope="col">State</th>
                  <th scope="col">Replicas</th>
                  <th scope="col">Version</th>
                  <th scope="col">Reachable at</th>
                  <th scope="col">
                    <span className="sr-only">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {items.map((service) => (
                  <ServiceRow
                    key={service.id}
                    service={service}
                    mayOperate={mayOperate}
                    onDo={(what) => setDoing({ what, service })}
                  />
                ))}
              </tbody>
            </table>
          </div>
        )}
      </DataStates>
      {doing?.what === 'scale' && (
        <ScaleDialog service={doing.service} onClose={close} onDone={services.refresh} />
      )}
      {doing?.what === 'rollback' && (
        <RollbackDialog service={doing.service} onClose={close} onDone={services.refresh} />
      )}
    </Card>
  );
}

interface ServiceRowProps {
  readonly service: ServiceResource;
  readonly mayOperate: boolean;
  readonly onDo: (what: Doing['what']) => void;
}

function ServiceRow({ service, mayOperate, onDo }: ServiceRowProps) {
  const { rollout } = service.status;
  const health = serviceHealth(service);
  const forbidden = mayOperate ? undefined : 'You need the role operator or admin';
  return (
    <tr>
      <th scope="row" data-label="Service">
        <span className="strong">{service.name}</span>
        <span className="sub mono" title={service.spec.image}>
          {service.spec.image}
        </span>
      </th>
      <td data-label="State">
        {service.deletedAt === undefined ? (
          <Badge tone={isStarting(service) ? 'busy' : toneOf(health)}>
            {health === 'unknown' ? 'New' : isStarting(service) ? 'Starting' : capitalised(health)}
          </Badge>
        ) : (
          <Badge tone="busy">Being removed</Badge>
        )}
        {rollout !== undefined && rollout.state !== 'idle' && (
          <span className={`sub rollout ${rollout.state}`}>
            {capitalised(rollout.state)}: {rollout.message}
          </span>
        )}
      </td>
      <td data-label="Replicas">
        <Replicas service={service} />
      </td>
      <td data-label="Version">
        <span className="mono">{service.spec.version}</span>
      </td>
      <td data-label="Reachable at">
        <Reachable service={service} />
      </td>
      <td className="actions">
        <button
          type="button"
          disabled={!mayOperate}
          title={forbidden}
          onClick={() => onDo('scale')}
          aria-label={`Scale ${service.name}`}
        >
          Scale
        </button>
        <button
          type="button"
          disabled={!mayOperate}
          title={forbidden}
          onClick={() => onDo('rollback')}
          aria-label={`Roll back ${service.name}`}
        >
          Roll back
        </button>
      </td>
    </tr>
  );
}

function Replicas({ service }: { readonly service: ServiceResource }) {
  const { ready, running, failed, pending, updated } = service.status.replicas;
  const wanted = service.spec.replicas;
  const parts = [
    running !== ready && `${running} running`,
    pending > 0 && `${pending} pending`,
    failed > 0 && `${failed} failed`,
    updated < wanted && service.status.rollout?.state === 'progressing' && `${updated} updated`,
  ].filter((part) => part !== false);
  return (
    <>
      <span className="nowrap">
        <span className="strong tabular">
          {ready}/{wanted}
        </span>{' '}
        ready
      </span>
      {parts.length > 0 && <span className={`sub ${failed > 0 ? 'bad-text' : ''}`}>{parts.join(', ')}</span>}
    </>
  );
}

function Reachable({ service }: { readonly service: ServiceResource }) {
  const published = service.spec.ports.filter((port) => port.published !== undefined);
  return (
    <>
      {published.map((port) => {
        const bound = port.publishedAddress ?? '127.0.0.1';
        // A wildcard is no address to go to: the machine that served this page is.
        const host = ['0.0.0.0', '::', '127.0.0.1'].includes(bound) ? location.hostname : bound;
        const text = `${host}:${port.published}`;
        if (port.protocol === 'UDP') return <span key={port.name}>{text}/udp</span>;
        return (
          <a key={port.name} className="mono" href={`http://${text}/`} target="_blank" rel="noreferrer">
            {text}
          </a>
        );
      })}
      {service.spec.ports.length > 0 && (
        <span className="sub mono" title="Inside the platform">
          {service.spec.ports.map((port) => `${service.name}:${port.port}`).join(', ')}
        </span>
      )}
      {service.spec.ports.length === 0 && <span className="muted">no ports</span>}
    </>
  );
}
