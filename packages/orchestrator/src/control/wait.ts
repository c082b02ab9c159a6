// Waiting for a service: by watch, with progress, a deadline and a useful error.

import {
  type Clock,
  type ContainerResource,
  formatDuration,
  HeptadError,
  Informer,
  type ServiceResource,
  type StateStore,
} from '@heptad/core';

/** How to wait. */
export interface WaitOptions {
  /** Default 2 minutes. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** A sentence whenever something changed. */
  readonly onProgress?: (message: string) => void;
}

const DEFAULT_TIMEOUT_MS = 120_000;

interface Where {
  readonly store: StateStore;
  readonly namespace: string;
  readonly clock: Clock;
}

/** See {@link ContainerOrchestrator.waitFor}. */
export async function waitForService(
  where: Where,
  name: string,
  what: 'ready' | 'completed' | 'gone',
  options: WaitOptions,
  isFinished: (container: ContainerResource) => boolean,
): Promise<void> {
  const { store, namespace, clock } = where;
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  await using services = new Informer(store, 'Service', { namespace, clock });
  await using containers = new Informer(store, 'Container', { namespace, clock });
  const stop = new AbortController();
  const signal = AbortSignal.any(
    options.signal === undefined ? [stop.signal] : [stop.signal, options.signal],
  );
  let last = '';
  let timedOut = false;
  const timer = clock.timer(timeoutMs, () => {
    timedOut = true;
    stop.abort();
  });
  try {
    await Promise.race([Promise.all([services.ready, containers.ready]), aborted(signal)]);
    for (;;) {
      options.signal?.throwIfAborted();
      const service = services.items.get(name);
      const own = [...containers.items.values()].filter(({ spec }) => spec.service === name);
      if (arrived(name, what, service, own, isFinished)) return;
      const message = service === undefined ? `${name} does not exist yet` : progress(service);
      if (message !== last) options.onProgress?.(message);
      last = message;
      if (timedOut) {
        throw new HeptadError(
          'TIMEOUT',
          `${name} was not ${what} after ${formatDuration(timeoutMs)}: ${last}`,
          {
            hint: `see: heptad rollout status ${name}`,
          },
        );
      }
      await changed([services, containers], signal);
    }
  } finally {
    timer.cancel();
    stop.abort();
  }
}

function arrived(
  name: string,
  what: 'ready' | 'completed' | 'gone',
  service: ServiceResource | undefined,
  containers: readonly ContainerResource[],
  isFinished: (container: ContainerResource) => boolean,
): boolean {
  if (what === 'gone') return service === undefined && containers.length === 0;
  if (service === undefined) {
    throw new HeptadError('NOT_FOUND', `cannot wait for ${name}: there is no such service`);
  }
  const { status, spec, generation } = service;
  if (status.observedGeneration !== generation || status.rollout === undefined) return false;
  const { state, message } = status.rollout;
  if (state === 'rolled-back' || state === 'failed') {
    throw new HeptadError('ROLLOUT_FAILED', `${name} did not become ${what}: ${message}`, {
      hint: `see: heptad logs ${name}`,
    });
  }
  if (what === 'ready') return state === 'idle' && status.replicas.ready >= spec.replicas;
  const done = containers.filter((container) => container.deletedAt === undefined && isFinished(container));
  const failed = done.find((container) => container.status.status === 'Failed');
  if (failed !== undefined) {
    throw new HeptadError('ROLLOUT_FAILED', `${name} did not complete: ${failed.status.message}`, {
      hint: `see: heptad logs ${name}`,
    });
  }
  return done.length >= spec.replicas;
}

function progress(service: ServiceResource): string {
  const { replicas, rollout } = service.status;
  const moving = rollout === undefined || rollout.state === 'idle' ? '' : ` (${rollout.message})`;
  return `${service.name}: ${replicas.ready} of ${service.spec.replicas} ready${moving}`;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

async function changed(
  informers: readonly { onChange(callback: () => void): Disposable }[],
  signal: AbortSignal,
): Promise<void> {
  let notify: () => void = () => {};
  const change = new Promise<void>((resolve) => {
    notify = resolve;
  });
  const subscriptions = informers.map((informer) => informer.onChange(() => notify()));
  await Promise.race([change, aborted(signal)]);
  for (const subscription of subscriptions) subscription[Symbol.dispose]();
}
