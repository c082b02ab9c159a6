// deploy, restart and x-heptad.update: how many replicas, how much of the machine, and how they are replaced.

import type { ServiceSpec } from '@heptad/core';
import { errorMessage, isHeptadError } from '@heptad/core';
import { parseConstraint } from '../schedule/constraints.ts';
import type { Cursor } from './cursor.ts';
import { readKeyValues } from './environment.ts';

/** What these keys say, as far as they say it. */
export interface DeployPart {
  replicas?: number;
  labels?: Record<string, string>;
  constraints?: string[];
  limits: { cpuMillis?: number; memoryBytes?: number; pids?: number };
  requests: { cpuMillis?: number; memoryBytes?: number; storageBytes?: number; networkMbps?: number };
  restart?: ServiceSpec['restart'];
  update?: Partial<ServiceSpec['update']>;
}

const REPLICAS = { min: 0, max: 10_000 };
const COUNT = { min: 0, max: 10_000 };
const ATTEMPTS = { min: 1, max: 1_000_000 };

/** Reads a number of replicas; zero is refused, because a file that wants nothing to run is nearly always a slip. */
export function readReplicas(cursor: Cursor): number | undefined {
  const replicas = cursor.integer(REPLICAS, 'a number of replicas');
  if (replicas !== 0) return replicas;
  return cursor.problem('must be at least 1', 'leave the service out, or scale it to 0 once it is deployed');
}

/** Reads `deploy`. */
export function readDeploy(cursor: Cursor, into: DeployPart): void {
  cursor.fields(
    {
      mode: (value) => {
        const mode = value.text();
        if (mode !== undefined && mode !== 'replicated') {
          value.problem(`mode "${mode}" is not supported`, 'only "replicated" is');
        }
      },
      replicas: (value) => {
        const replicas = readReplicas(value);
        if (replicas !== undefined) into.replicas = replicas;
      },
      labels: (value) => {
        into.labels = readKeyValues(value, false);
      },
      resources: (value) => readResources(value, into),
      restart_policy: (value) => readRestartPolicy(value, into),
      update_config: (value) => readUpdateConfig(value, into),
      placement: (value) =>
        value.fields(
          {
            constraints: (list) => {
              into.constraints = readConstraints(list);
            },
          },
          {
            preferences: 'replicas of a service are spread over nodes already',
            max_replicas_per_node: '',
          },
        ),
    },
    {
      endpoint_mode: 'every service has one stable address, balanced by the mesh',
      rollback_config: 'a failed rollout goes back by itself; see x-heptad.update',
    },
  );
}

function readConstraints(list: Cursor): string[] {
  return list.items('a list of constraints').flatMap((item) => {
    const text = item.text('a constraint');
    if (text === undefined) return [];
    try {
      parseConstraint(text);
      return [text];
    } catch (error) {
      item.problem(errorMessage(error), isHeptadError(error) ? error.hint : undefined);
      return [];
    }
  });
}

function readResources(cursor: Cursor, into: DeployPart): void {
  const amounts = (to: { cpuMillis?: number; memoryBytes?: number }) => ({
    cpus: (value: Cursor) => {
      const cpu = value.cpu();
      if (cpu !== undefined) to.cpuMillis = cpu;
    },
    memory: (value: Cursor) => {
      const bytes = value.bytes();
      if (bytes !== undefined) to.memoryBytes = bytes;
    },
  });
  cursor.fields({
    limits: (value) =>
      value.fields({
        ...amounts(into.limits),
        pids: (pids) => {
          const count = pids.integer(ATTEMPTS, 'a number of processes');
          if (count !== undefined) into.limits.pids = count;
        },
      }),
    reservations: (value) =>
      value.fields(amounts(into.requests), { devices: '', generic_resources: '', pids: 'pids is a limit' }),
  });
}

function readRestartPolicy(cursor: Cursor, into: DeployPart): void {
  let condition: ServiceSpec['restart']['condition'] | undefined = 'always';
  let maxAttempts: number | undefined;
  cursor.fields(
    {
      condition: (value) => {
        const word = value.choice(['none', 'on-failure', 'any']);
        condition = word === 'none' ? 'never' : word === 'any' ? 'always' : word;
      },
      max_attempts: (value) => {
        maxAttempts = value.integer(ATTEMPTS, 'a number of attempts');
      },
    },
    {
      delay: 'restarts wait 100 ms, doubled each time up to a minute',
      window: 'the wait begins anew after 10 s of running',
    },
  );
  if (condition === undefined) return;
  into.restart = { condition, ...(maxAttempts === undefined ? {} : { maxAttempts }) };
}

/**
 * Reads `update_config`. `order` is start-first unless said otherwise (Compose's own default stops first, which takes a
 * replica out of service at each step); `delay` and `monitor` both become the time a new replica must have been ready
 * before the next one is replaced.
 */
function readUpdateConfig(cursor: Cursor, into: DeployPart): void {
  let parallelism: number | undefined = 1;
  let stopFirst = false;
  let minReadyMs = 0;
  let onFailure: ServiceSpec['update']['onFailure'] = 'rollback';
  const wait = (value: Cursor): void => {
    minReadyMs = Math.max(minReadyMs, value.duration() ?? 0);
  };
  cursor.fields({
    parallelism: (value) => {
      parallelism = value.integer(COUNT, 'a number of replicas');
    },
    order: (value) => {
      stopFirst = value.choice(['start-first', 'stop-first']) === 'stop-first';
    },
    delay: wait,
    monitor: wait,
    failure_action: (value) => {
      const action = value.text();
      if (action === 'pause' || action === 'rollback') onFailure = action;
      else if (action !== undefined) {
        value.problem(`failure_action "${action}" is not supported`, 'write rollback or pause');
      }
    },
    max_failure_ratio: (value) => {
      const ratio = value.text('a ratio');
      if (ratio !== undefined && Number(ratio) !== 0) {
        value.problem(
          'max_failure_ratio other than 0 is not supported',
          'a failing replica fails the rollout',
        );
      }
    },
  });
  if (parallelism === undefined) return;
  // 0 is Compose's word for "all at once".
  const step = parallelism === 0 ? REPLICAS.max : parallelism;
  into.update = {
    ...into.update,
    maxSurge: stopFirst ? 0 : step,
    maxUnavailable: stopFirst ? step : 0,
    minReadyMs,
    onFailure,
  };
}

/** Reads `x-heptad.update`, Heptad's own words for the same. */
export function readUpdate(cursor: Cursor, into: DeployPart): void {
  const update: Partial<ServiceSpec['update']> = { ...into.update };
  const count = (key: 'maxSurge' | 'maxUnavailable') => (value: Cursor) => {
    const number = value.integer(COUNT, 'a number of replicas');
    if (number !== undefined) update[key] = number;
  };
  const duration = (key: 'minReadyMs' | 'progressDeadlineMs') => (value: Cursor) => {
    const ms = value.duration();
    if (ms !== undefined) update[key] = ms;
  };
  cursor.fields({
    maxSurge: count('maxSurge'),
    maxUnavailable: count('maxUnavailable'),
    minReady: duration('minReadyMs'),
    progressDeadline: duration('progressDeadlineMs'),
    onFailure: (value) => {
      const choice = value.choice(['rollback', 'pause']);
      if (choice !== undefined) update.onFailure = choice;
    },
  });
  if (update.maxSurge === 0 && (update.maxUnavailable ?? 0) === 0) {
    cursor.problem('maxSurge and maxUnavailable cannot both be 0: nothing could ever be replaced');
  }
  into.update = update;
}

/** Reads a service's `restart`. */
export function readRestart(cursor: Cursor, into: DeployPart): void {
  const text = cursor.text('a restart policy');
  if (text === undefined) return;
  const [word, attempts] = text.split(':');
  if (word === 'no' && attempts === undefined) into.restart = { condition: 'never' };
  else if ((word === 'always' || word === 'unless-stopped') && attempts === undefined) {
    into.restart = { condition: 'always' };
  } else if (word === 'on-failure' && (attempts === undefined || /^[1-9]\d{0,6}$/.test(attempts))) {
    into.restart = {
      condition: 'on-failure',
      ...(attempts === undefined ? {} : { maxAttempts: Number(attempts) }),
    };
  } else {
    cursor.problem(
      `"${text}" is no restart policy`,
      'write "no", always, unless-stopped, on-failure or on-failure:3',
    );
  }
}
