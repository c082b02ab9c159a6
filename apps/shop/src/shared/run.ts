// The frame of every service: listen where the platform says, run, and leave in order on SIGTERM.

import { hostname } from 'node:os';
import { systemClock, type Timer } from '@heptad/core';
import { HttpService, type HttpServiceOptions, type Routes } from './http.ts';
import { createLogger, type Logger } from './log.ts';

/** What a service brings. */
export interface ServiceParts {
  readonly routes: Routes;
  readonly notReady?: () => string | undefined;
  readonly problemPage?: HttpServiceOptions['problemPage'];
  /** Ends its background work after the last request was answered. */
  readonly close?: () => Promise<void>;
}

/** What a service is given. */
export interface ServiceContext {
  readonly log: Logger;
  /** Name of this replica. */
  readonly replica: string;
  /** Aborts when the service begins to leave. */
  readonly stopping: AbortSignal;
}

/** Time in which balancers notice that we are no longer ready. */
const DEFAULT_DRAIN_MS = 1_000;
/** Everything must have ended by then; the platform kills after 10 s. */
const SHUTDOWN_LIMIT_MS = 8_000;

/** Runs a service until SIGTERM or SIGINT. */
export async function runService(
  name: string,
  build: (context: ServiceContext) => Promise<ServiceParts>,
): Promise<void> {
  const replica = process.env.HEPTAD_REPLICA ?? `${hostname()}-${process.pid}`;
  const log = createLogger(name, replica);
  try {
    await run(name, build, log, replica);
  } catch (error) {
    log.error(`cannot start ${name}`, error);
    process.exitCode = 1;
  }
}

async function run(
  name: string,
  build: (context: ServiceContext) => Promise<ServiceParts>,
  log: Logger,
  replica: string,
): Promise<void> {
  const stop = new AbortController();
  const parts = await build({ log, replica, stopping: stop.signal });
  const service = new HttpService({
    host: process.env.HOST ?? '0.0.0.0',
    port: numberFrom('PORT', 8080),
    routes: parts.routes,
    log,
    notReady: parts.notReady ?? (() => undefined),
    ...(parts.problemPage === undefined ? {} : { problemPage: parts.problemPage }),
  });
  const port = await service.listen();
  log.info('listening', { host: process.env.HOST ?? '0.0.0.0', port });
  const leave = async (signal: string): Promise<void> => {
    if (stop.signal.aborted) return;
    log.info('shutting down', { signal });
    const limit = setLimit(log);
    try {
      const drained = service.drain(numberFrom('DRAIN_MS', DEFAULT_DRAIN_MS));
      stop.abort(new Error(`${name} is shutting down`));
      await drained;
      await parts.close?.();
      log.info('stopped');
    } catch (error) {
      log.error('shutdown failed', error);
      process.exitCode = 1;
    } finally {
      limit.cancel();
    }
    process.exit();
  };
  process.once('SIGTERM', () => void leave('SIGTERM'));
  process.once('SIGINT', () => void leave('SIGINT'));
}

function setLimit(log: Logger): Timer {
  return systemClock.timer(
    SHUTDOWN_LIMIT_MS,
    () => {
      log.warn('shutdown took too long, leaving', { limitMs: SHUTDOWN_LIMIT_MS });
      process.exit(1);
    },
    { unref: true },
  );
}

function numberFrom(name: string, fallback: number): number {
  const text = process.env[name];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) {
    throw new Error(`environment variable ${name} is "${text}", which is no whole number`);
  }
  return value;
}
