// One health probe: asks a container once whether it works, and never outlives its timeout.

import { request } from 'node:http';
import { connect } from 'node:net';
import { type Clock, type ContainerRuntime, errorMessage, type HealthCheck } from '@heptad/core';

/** What a probe found. */
export interface ProbeResult {
  readonly healthy: boolean;
  /** Why, for people: `GET /health answered 503`. */
  readonly message: string;
}

/** Whom to probe. */
export interface ProbeTarget {
  readonly runtime: ContainerRuntime;
  readonly runtimeId: string;
  /** Needed by http and tcp probes. */
  readonly address: string | undefined;
  readonly clock: Clock;
}

/** What a command probe printed is shown up to here. */
const OUTPUT_LIMIT = 512;

/** Runs a probe. Never rejects: whatever goes wrong is an unhealthy result, except that `signal` was aborted. */
export async function runProbe(
  check: HealthCheck,
  target: ProbeTarget,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const timeout = new AbortController();
  const timer = target.clock.timer(check.timeoutMs, () => timeout.abort());
  try {
    return await probe(check, target, AbortSignal.any([signal, timeout.signal]));
  } catch (error) {
    signal.throwIfAborted();
    const late = timeout.signal.aborted;
    return {
      healthy: false,
      message: late ? `${what(check)} did not answer within ${check.timeoutMs} ms` : errorMessage(error),
    };
  } finally {
    timer.cancel();
  }
}

function what(check: HealthCheck): string {
  if (check.http !== undefined) return `GET ${check.http.path} on port ${check.http.port}`;
  if (check.tcp !== undefined) return `port ${check.tcp.port}`;
  return `"${(check.command ?? []).join(' ')}"`;
}

function probe(check: HealthCheck, target: ProbeTarget, signal: AbortSignal): Promise<ProbeResult> {
  if (check.command !== undefined) return probeCommand(check.command, check.timeoutMs, target, signal);
  const { address } = target;
  if (address === undefined) {
    return Promise.resolve({ healthy: false, message: 'the container has no address to probe' });
  }
  if (check.http !== undefined) return probeHttp(check.http, address, signal);
  return probeTcp(check.tcp?.port ?? 0, address, signal);
}

function probeHttp(
  check: { path: string; port: number },
  host: string,
  signal: AbortSignal,
): Promise<ProbeResult> {
  return new Promise((resolve, reject) => {
    // A connection of its own for each probe: a kept one would prove that the old connection works, not the server.
    const outgoing = request(
      { host, port: check.port, path: check.path, method: 'GET', agent: false, signal },
      (response) => {
        const status = response.statusCode ?? 0;
        response.destroy();
        resolve({
          healthy: status >= 200 && status < 400,
          message: `GET ${check.path} on port ${check.port} answered ${status}`,
        });
      },
    );
    outgoing.on('error', (error) => {
      reject(new Error(`GET ${check.path} on port ${check.port}: ${error.message}`, { cause: error }));
    });
    outgoing.end();
  });
}

function probeTcp(port: number, host: string, signal: AbortSignal): Promise<ProbeResult> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const end = (finish: () => void): void => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      finish();
    };
    const onAbort = (): void => end(() => reject(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('connect', () =>
      end(() => resolve({ healthy: true, message: `port ${port} accepts connections` })),
    );
    socket.on('error', (error) =>
      end(() => reject(new Error(`port ${port}: ${error.message}`, { cause: error }))),
    );
  });
}

async function probeCommand(
  command: readonly string[],
  timeoutMs: number,
  target: ProbeTarget,
  signal: AbortSignal,
): Promise<ProbeResult> {
  // The runtime kills the command, and all it started, at the timeout or the abort.
  const session = await target.runtime.exec(target.runtimeId, { command, timeoutMs, signal });
  const [code, output] = await Promise.all([session.exit, outputOf(session.stdout), drain(session.stderr)]);
  const shown = output.trim();
  return {
    healthy: code === 0,
    message: `"${command.join(' ')}" ended with exit code ${code}${shown === '' ? '' : `: ${shown}`}`,
  };
}

async function outputOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    if (text.length < OUTPUT_LIMIT) text += decoder.decode(chunk, { stream: true });
  }
  return text.slice(0, OUTPUT_LIMIT);
}

async function drain(stream: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of stream) {
    // Read on, so that a chatty command does not block on a full pipe.
  }
}
