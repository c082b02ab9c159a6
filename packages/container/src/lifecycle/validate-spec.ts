// Refuses a container spec that can never work, before anything is made for it.

import type { ContainerHealthCheck, ContainerSpec, Mount, PublishedPort } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { requireMountTarget } from './kernel-paths.ts';
import { signalNumber } from './signals.ts';
import { validateIsolation } from './validate-isolation.ts';
import { validateLimits } from './validate-limits.ts';

export { validateLimits };

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;
const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;
const HOSTNAME = /^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62})$/;
const HOST_ENTRY_NAME = /^[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,252})$/;
const ADDRESS = /^[0-9a-fA-F.:]{2,45}$/;
// execve refuses more than 128 KiB in one string.
const MAX_ENVIRONMENT_VALUE_BYTES = 128 * 1024;
const MAX_ENVIRONMENT_VARIABLES = 4096;
const MAX_MOUNTS = 256;
// Secrets live in memory; this is a credential store, not a file server.
const MAX_SECRET_BYTES = 1024 * 1024;

const RESTART_POLICIES: ReadonlySet<string> = new Set(['no', 'always', 'unless-stopped', 'on-failure']);
// An exec takes some milliseconds; checks closer together would only measure themselves.
const MIN_CHECK_MS = 10;
// Timers hold at most 2^31 ms; a week is a mistake already.
const MAX_CHECK_MS = 7 * 24 * 3_600_000;

function refuse(spec: { name?: unknown }, what: string, hint?: string): never {
  throw new ContainerError('INVALID_ARGUMENT', `cannot create container "${String(spec.name)}": ${what}`, {
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Throws `INVALID_ARGUMENT` naming the field that is wrong. */
export function validateSpec(spec: ContainerSpec): void {
  validateName(spec.name, `create container "${String(spec.name)}"`);
  if (typeof spec.image !== 'string' || spec.image.trim() === '') refuse(spec, 'image is empty');
  validateEnvironment(spec);
  if (spec.workingDirectory !== undefined && !spec.workingDirectory.startsWith('/')) {
    refuse(spec, `workingDirectory "${spec.workingDirectory}" is not an absolute path`);
  }
  if (spec.hostname !== undefined && !HOSTNAME.test(spec.hostname)) {
    refuse(
      spec,
      `hostname "${spec.hostname}" is not valid`,
      'host names are letters, digits, "." and "-", at most 63',
    );
  }
  if (spec.stopSignal !== undefined) signalNumber(spec.stopSignal);
  if (spec.limits !== undefined) validateLimits(spec.limits, `create container "${spec.name}"`);
  validateIsolation(spec, (what, hint) => refuse(spec, what, hint));
  if ((spec.mounts?.length ?? 0) > MAX_MOUNTS) refuse(spec, `it has more than ${MAX_MOUNTS} mounts`);
  for (const mount of spec.mounts ?? []) validateMount(spec, mount);
  for (const secret of spec.secrets ?? []) {
    validateTarget(spec, secret.target);
    if (Buffer.byteLength(secret.content) > MAX_SECRET_BYTES) {
      refuse(spec, `secret ${secret.target} is larger than ${MAX_SECRET_BYTES} bytes`);
    }
  }
  for (const port of spec.ports ?? []) validatePort(spec, port);
  validateHosts(spec.hosts ?? {}, `create container "${spec.name}"`);
  validateRestart(spec);
  if (spec.healthCheck !== undefined && spec.healthCheck !== 'none')
    validateHealthCheck(spec, spec.healthCheck);
  if (spec.logs?.maxBytes !== undefined && spec.logs.maxBytes < 4096)
    refuse(spec, 'logs.maxBytes is below 4096');
  const files = spec.logs?.maxFiles;
  if (files !== undefined && (files < 1 || files > 100))
    refuse(spec, 'logs.maxFiles is not between 1 and 100');
}

/** Throws `INVALID_ARGUMENT` unless it can be a container's name. */
export function validateName(name: unknown, doing: string): void {
  if (typeof name === 'string' && NAME.test(name)) return;
  throw new ContainerError('INVALID_ARGUMENT', `cannot ${doing}: the name "${String(name)}" is not valid`, {
    hint: 'names are letters, digits, "_", "." and "-", at most 128, not starting with a sign',
  });
}

function validateEnvironment(spec: ContainerSpec): void {
  const entries = Object.entries(spec.environment ?? {});
  if (entries.length > MAX_ENVIRONMENT_VARIABLES) {
    refuse(spec, `it has more than ${MAX_ENVIRONMENT_VARIABLES} environment variables`);
  }
  for (const [name, value] of entries) {
    if (name === '' || name.includes('=') || name.includes('\0')) {
      refuse(spec, `environment variable name "${name}" is not valid`);
    }
    // The value may be a secret: it is never repeated in the message.
    if (value.includes('\0') || Buffer.byteLength(value) > MAX_ENVIRONMENT_VALUE_BYTES) {
      refuse(spec, `the value of environment variable ${name} holds a zero byte or is over 128 KiB`);
    }
  }
}

function validateRestart(spec: ContainerSpec): void {
  const { restart } = spec;
  if (restart === undefined) return;
  if (!RESTART_POLICIES.has(restart.policy)) {
    refuse(
      spec,
      `restart policy "${restart.policy}" is not known`,
      `policies are ${[...RESTART_POLICIES].join(', ')}`,
    );
  }
  if (restart.maxRetries === undefined) return;
  if (restart.policy !== 'on-failure') {
    refuse(spec, `restart.maxRetries does not go with policy ${restart.policy}`, 'only on-failure gives up');
  }
  if (!Number.isSafeInteger(restart.maxRetries) || restart.maxRetries < 0)
    refuse(spec, `restart.maxRetries = ${restart.maxRetries} is not a whole number`);
}

function validateHealthCheck(spec: ContainerSpec, check: ContainerHealthCheck): void {
  if (check.command.length === 0) refuse(spec, 'healthCheck.command is empty');
  const atLeast = (
    field: 'intervalMs' | 'timeoutMs' | 'retries' | 'startPeriodMs' | 'startIntervalMs',
    minimum: number,
  ): void => {
    const value = check[field];
    if (value === undefined || (Number.isFinite(value) && value >= minimum && value <= MAX_CHECK_MS)) return;
    refuse(spec, `healthCheck.${field} = ${value} is not between ${minimum} and ${MAX_CHECK_MS}`);
  };
  for (const field of ['intervalMs', 'timeoutMs', 'startIntervalMs'] as const) atLeast(field, MIN_CHECK_MS);
  atLeast('retries', 1);
  atLeast('startPeriodMs', 0);
  if (check.onUnhealthy !== undefined && !['none', 'restart', 'stop'].includes(check.onUnhealthy))
    refuse(spec, `healthCheck.onUnhealthy "${check.onUnhealthy}" is not none, restart or stop`);
}

function validateTarget(spec: ContainerSpec, target: string): void {
  if (
    !target.startsWith('/') ||
    target === '/' ||
    target.split('/').includes('..') ||
    target.includes('\0')
  ) {
    refuse(
      spec,
      `mount target "${target}" is not an absolute path below /`,
      'use a path such as /data, without ".."',
    );
  }
}

function validateMount(spec: ContainerSpec, mount: Mount): void {
  validateTarget(spec, mount.target);
  requireMountTarget(mount.target, `create container "${spec.name}"`);
  if (mount.type === 'bind' && !mount.source.startsWith('/')) {
    refuse(spec, `bind source "${mount.source}" is not an absolute path`);
  }
  if (mount.type === 'volume' && !VOLUME_NAME.test(mount.name)) {
    refuse(
      spec,
      `volume name "${mount.name}" is not valid`,
      'volume names are letters, digits, "_", "." and "-", at most 64',
    );
  }
}

function validatePort(spec: ContainerSpec, port: PublishedPort): void {
  for (const number of [port.hostPort, port.containerPort]) {
    if (!Number.isInteger(number) || number < 1 || number > 65_535) {
      refuse(spec, `port ${number} is not between 1 and 65535`);
    }
  }
  if (port.hostAddress !== undefined && !ADDRESS.test(port.hostAddress)) {
    refuse(spec, `host address "${port.hostAddress}" of port ${port.hostPort} is not an IP address`);
  }
}

/** Throws `INVALID_ARGUMENT` for an entry that would not be one line of /etc/hosts. */
export function validateHosts(hosts: Readonly<Record<string, string>>, doing: string): void {
  for (const [name, address] of Object.entries(hosts)) {
    if (HOST_ENTRY_NAME.test(name) && ADDRESS.test(address)) continue;
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot ${doing}: host entry "${name}" -> "${address}" is not a name and an IP address`,
    );
  }
}
