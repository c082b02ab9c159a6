// What a container will be, spec and image taken together, as far as it may be shown: secrets are left out.

import type { ContainerHealthCheck, ContainerSpec } from '@heptad/core';
import type { ImageConfig, ImageHealthCheck } from '../image/manifest.ts';
import type { PreparedContainer } from './driver.ts';

const NS_PER_MS = 1_000_000;

/** The part of a {@link PreparedContainer} that inspect shows. `environment` is in the form NAME=value. */
export function settledOf(
  spec: ContainerSpec,
  image: ImageConfig['config'],
  runs: { command: readonly string[]; environment: readonly string[]; workingDirectory: string },
): Pick<PreparedContainer, 'command' | 'environment' | 'workingDirectory' | 'user' | 'healthCheck'> {
  const secret = new Set(spec.secretEnvironment ?? []);
  const environment: Record<string, string> = {};
  for (const line of runs.environment) {
    const equals = line.indexOf('=');
    const name = line.slice(0, equals);
    environment[name] = secret.has(name) ? '***' : line.slice(equals + 1);
  }
  const user = spec.user ?? image.User;
  const healthCheck = settledHealthCheck(spec, image.Healthcheck);
  return {
    command: runs.command,
    environment,
    workingDirectory: runs.workingDirectory,
    ...(user === undefined || user === '' ? {} : { user }),
    ...(healthCheck === undefined ? {} : { healthCheck }),
  };
}

/** The spec's check, else the image's; `none` switches both off. */
export function settledHealthCheck(
  spec: ContainerSpec,
  image: ImageHealthCheck | undefined,
): ContainerHealthCheck | undefined {
  if (spec.healthCheck === 'none') return undefined;
  return spec.healthCheck ?? imageHealthCheck(image);
}

function imageHealthCheck(image: ImageHealthCheck | undefined): ContainerHealthCheck | undefined {
  const [kind, ...rest] = image?.Test ?? [];
  const command = kind === 'CMD' ? rest : kind === 'CMD-SHELL' ? ['/bin/sh', '-c', ...rest] : [];
  if (image === undefined || command.length === 0 || rest.length === 0) return undefined;
  const ms = (value: number | undefined): number | undefined =>
    value === undefined || value <= 0 ? undefined : Math.max(1, Math.round(value / NS_PER_MS));
  const times = {
    intervalMs: ms(image.Interval),
    timeoutMs: ms(image.Timeout),
    startPeriodMs: ms(image.StartPeriod),
    startIntervalMs: ms(image.StartInterval),
    retries: (image.Retries ?? 0) > 0 ? image.Retries : undefined,
  };
  return { command, ...Object.fromEntries(Object.entries(times).filter(([, value]) => value !== undefined)) };
}
