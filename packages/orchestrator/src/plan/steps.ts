// The steps of the orchestrator's plans, and what each makes of a draft.

import type {
  ContainerResource,
  EndpointResource,
  NodeResource,
  ResourceQuantities,
  ServiceResource,
  ServiceSpec,
  Step,
} from '@heptad/core';
import { SERVICE_FINALIZER } from './identity.ts';
import type { Draft, RevisionRecord } from './state.ts';

type ServiceStatus = ServiceResource['status'];
/** State of a service's rollout. */
export type Rollout = NonNullable<ServiceStatus['rollout']>;

/** Every kind of step the orchestrator plans. */
export type OrchestratorStep =
  | Step<'set-node-status', Pick<NodeResource['status'], 'status' | 'conditions'> & { node: string }>
  | Step<'set-node-allocated', { node: string; allocated: ResourceQuantities }>
  | Step<'claim-address', { service: string; address: string }>
  | Step<'release-address', { service: string; address: string }>
  | Step<'record-revision', { service: string; record: RevisionRecord }>
  | Step<'mark-revision', { service: string; number: number; outcome: RevisionRecord['outcome'] }>
  | Step<'forget-revision', { service: string; number: number }>
  | Step<'roll-back', { service: string; spec: ServiceSpec; rollout: Rollout }>
  | Step<'set-rollout', { service: string; rollout: Rollout }>
  | Step<'create-container', { service: string; container: ContainerResource }>
  | Step<
      'bind-container',
      { service: string; container: string; node: string; allocated: ResourceQuantities }
    >
  | Step<
      'explain-container',
      { service: string; container: string; reason: string; message: string; at: number }
    >
  | Step<'sync-container', { service: string; container: string; template: ServiceSpec }>
  | Step<'drain-container', { service: string; container: string; until: number }>
  | Step<'remove-container', { service: string; container: string; at: number }>
  | Step<'release-container', { service: string; container: string }>
  | Step<'set-endpoint', { service: string; endpoint: string; state: EndpointResource['status']['state'] }>
  | Step<'remove-endpoint', { service: string; endpoint: string }>
  | Step<'report-service', { service: string; status: ServiceStatus }>
  | Step<'release-service', { service: string }>;

/** Name of a step's kind. */
export type OrchestratorOp = OrchestratorStep['op'];

/** Steps that only keep figures and sentences up to date: they are carried out, but are no events. */
export const QUIET_OPS: ReadonlySet<OrchestratorOp> = new Set([
  'set-node-allocated',
  'report-service',
  'explain-container',
  'mark-revision',
  'forget-revision',
]);

/** Which compare-and-set a step belongs to: all steps of one service are carried out together or not at all. */
export function stepGroup(step: OrchestratorStep): string {
  return step.op === 'set-node-status' || step.op === 'set-node-allocated'
    ? `node/${step.payload.node}`
    : `service/${step.payload.service}`;
}

function changeContainer(
  draft: Draft,
  name: string,
  change: (container: ContainerResource) => ContainerResource,
): void {
  const container = draft.containers.get(name);
  if (container !== undefined) draft.put('Container', change(container));
}

function changeService(
  draft: Draft,
  name: string,
  change: (service: ServiceResource) => ServiceResource,
): void {
  const service = draft.services.get(name);
  if (service !== undefined) draft.put('Service', change(service));
}

function changeNode(draft: Draft, name: string, status: Partial<NodeResource['status']>): void {
  const node = draft.nodes.get(name);
  if (node !== undefined) draft.put('Node', { ...node, status: { ...node.status, ...status } });
}

/** Changes a container's spec, which by definition raises its generation. */
function respec(container: ContainerResource, spec: Partial<ContainerResource['spec']>): ContainerResource {
  return { ...container, spec: { ...container.spec, ...spec }, generation: container.generation + 1 };
}

/**
 * Makes a step true in a draft. The one meaning of each step: planning ahead, dry runs, tests and the executor (which
 * writes what changed by compare-and-set) all go through here.
 */
export function applyStep(draft: Draft, step: OrchestratorStep): void {
  switch (step.op) {
    case 'create-container':
      draft.put('Container', step.payload.container);
      return;
    case 'bind-container':
      applyBind(draft, step.payload);
      return;
    case 'explain-container':
      applyExplain(draft, step.payload);
      return;
    case 'sync-container':
      changeContainer(draft, step.payload.container, (container) =>
        respec(container, { template: step.payload.template }),
      );
      return;
    case 'drain-container':
      changeContainer(draft, step.payload.container, (container) =>
        respec(container, { drainUntil: step.payload.until }),
      );
      return;
    case 'remove-container':
      applyRemove(draft, step.payload.container, step.payload.at);
      return;
    case 'release-container':
      draft.delete('Container', step.payload.container);
      return;
    case 'set-endpoint': {
      const endpoint = draft.endpoints.get(step.payload.endpoint);
      if (endpoint !== undefined)
        draft.put('Endpoint', { ...endpoint, status: { state: step.payload.state } });
      return;
    }
    case 'remove-endpoint':
      draft.delete('Endpoint', step.payload.endpoint);
      return;
    case 'set-node-status':
      changeNode(draft, step.payload.node, {
        status: step.payload.status,
        conditions: step.payload.conditions,
      });
      return;
    case 'set-node-allocated':
      changeNode(draft, step.payload.node, { allocated: step.payload.allocated });
      return;
    default:
      applyServiceStep(draft, step);
  }
}

type ContainerOrNodeOp =
  | 'create-container'
  | 'bind-container'
  | 'explain-container'
  | 'sync-container'
  | 'drain-container'
  | 'remove-container'
  | 'release-container'
  | 'set-endpoint'
  | 'remove-endpoint'
  | 'set-node-status'
  | 'set-node-allocated';

function applyServiceStep(draft: Draft, step: Exclude<OrchestratorStep, { op: ContainerOrNodeOp }>): void {
  const { service: name } = step.payload;
  switch (step.op) {
    case 'claim-address':
      if (!draft.addresses.has(step.payload.address)) {
        draft.putAddress({
          address: step.payload.address,
          namespace: draft.namespace,
          service: name,
          revision: 0,
        });
      }
      changeService(draft, name, (service) => ({
        ...service,
        status: { ...service.status, virtualAddress: step.payload.address },
      }));
      return;
    case 'release-address':
      draft.deleteAddress(step.payload.address);
      return;
    case 'record-revision':
      draft.putRevision(name, step.payload.record);
      return;
    case 'mark-revision': {
      const record = draft.revisions.get(name)?.find((other) => other.number === step.payload.number);
      if (record !== undefined) draft.putRevision(name, { ...record, outcome: step.payload.outcome });
      return;
    }
    case 'forget-revision':
      draft.deleteRevision(name, step.payload.number);
      return;
    case 'roll-back':
      changeService(draft, name, (service) => ({
        ...service,
        spec: step.payload.spec,
        generation: service.generation + 1,
        status: { ...service.status, rollout: step.payload.rollout },
      }));
      return;
    case 'set-rollout':
      changeService(draft, name, (service) => ({
        ...service,
        status: { ...service.status, rollout: step.payload.rollout },
      }));
      return;
    case 'report-service':
      changeService(draft, name, (service) => ({ ...service, status: step.payload.status }));
      return;
    case 'release-service':
      applyServiceRelease(draft, name);
  }
}

/** Others may hold finalizers of their own; the last one to let go deletes. */
function applyServiceRelease(draft: Draft, name: string): void {
  const service = draft.services.get(name);
  if (service === undefined) return;
  const finalizers = service.finalizers.filter((finalizer) => finalizer !== SERVICE_FINALIZER);
  if (finalizers.length === 0) draft.delete('Service', name);
  else draft.put('Service', { ...service, finalizers });
}

function applyBind(
  draft: Draft,
  payload: { container: string; node: string; allocated: ResourceQuantities },
): void {
  changeContainer(draft, payload.container, (container) => ({
    ...respec(container, { node: payload.node }),
    status: {
      ...container.status,
      message: `bound to node ${payload.node}`,
      conditions: container.status.conditions.filter((condition) => condition.type !== 'Scheduled'),
    },
  }));
  // The node is written in the same transaction: two controllers that fill one node at once conflict, and it is never
  // given more than it has.
  changeNode(draft, payload.node, { allocated: payload.allocated });
}

function applyExplain(
  draft: Draft,
  payload: { container: string; reason: string; message: string; at: number },
): void {
  const { reason, message, at } = payload;
  changeContainer(draft, payload.container, (container) => ({
    ...container,
    status: {
      ...container.status,
      message,
      conditions: [
        ...container.status.conditions.filter((condition) => condition.type !== 'Scheduled'),
        { type: 'Scheduled', status: 'False', reason, message, since: at },
      ],
    },
  }));
}

function applyRemove(draft: Draft, name: string, at: number): void {
  const container = draft.containers.get(name);
  if (container === undefined) return;
  if (container.finalizers.length === 0) draft.delete('Container', name);
  else draft.put('Container', { ...container, deletedAt: at, generation: container.generation + 1 });
}
