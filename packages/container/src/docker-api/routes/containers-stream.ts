// What flows out of and into containers: logs, attach, stats.

import { readFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import type { ContainerInfo, ContainerStats, LogLine } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { encodeFrame } from '../../docker/multiplex.ts';
import { ContainerError } from '../../errors.ts';
import { type ApiCall, writeTo } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { DetachKeys } from '../detach-keys.ts';
import { containerOf } from '../find-container.ts';
import { relayInput, relayOutput } from '../relay.ts';
import { timeText } from '../show-container.ts';

const STATS_EVERY_MS = 1_000;
const RAW = 'application/vnd.docker.raw-stream';
const machineMemory = totalmem();

/** `GET /containers/{id}/logs` */
export async function containerLogs(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const stdout = call.flag('stdout');
  const stderr = call.flag('stderr');
  if (!stdout && !stderr) {
    throw new ContainerError('INVALID_ARGUMENT', 'you must choose at least one stream: stdout or stderr');
  }
  const lines = context.runtime.logs(info.id, {
    follow: call.flag('follow'),
    signal: call.closed,
    ...(stdout && stderr ? {} : { stream: stdout ? 'stdout' : 'stderr' }),
    ...tailOption(call.query.get('tail')),
    ...instantOption('since', call.query.get('since')),
    ...instantOption('until', call.query.get('until')),
  });
  const stamps = call.flag('timestamps');
  const response = call.stream(RAW);
  for await (const line of lines) {
    if (!(await writeTo(response, logBytes(line, stamps, info.tty)))) return;
  }
  response.end();
}

/** A number of lines; `all`, a negative number and what is no number are all of them, as in Docker. */
function tailOption(text: string | null): { tail?: number } {
  const tail = Number(text ?? '');
  return text === null || text === '' || !Number.isInteger(tail) || tail < 0 ? {} : { tail };
}

function instantOption(name: 'since' | 'until', text: string | null): { since?: number; until?: number } {
  if (text === null || text === '' || text === '0') return {};
  const instant = /^\d+(\.\d+)?$/.test(text) ? Math.floor(Number(text) * 1000) : Date.parse(text);
  if (Number.isNaN(instant)) throw new ContainerError('INVALID_ARGUMENT', `"${text}" is not a time`);
  return { [name]: instant };
}

function logBytes(line: LogLine, stamps: boolean, tty: boolean): Uint8Array {
  // Nanoseconds, which clients expect, of which we know the first three.
  const stamp = stamps ? `${timeText(line.at).replace('Z', '000000Z')} ` : '';
  const bytes = Buffer.from(`${stamp}${line.text}\n`);
  return tty ? bytes : encodeFrame(line.stream, bytes);
}

/** `POST /containers/{id}/attach` */
export async function attachContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const stream = call.flag('stream');
  const wantsInput = call.flag('stdin') && stream && (info.openStdin || info.tty);
  const keys = info.tty ? new DetachKeys(call.query.get('detachKeys') ?? '') : undefined;
  if (!stream) return await replay(context, call, info);
  const session = await context.runtime.attach(info.id, {
    stdin: wantsInput,
    replay: call.flag('logs'),
  });
  const connection = call.hijack(!info.tty);
  connection.closed.addEventListener('abort', () => void session.detach(), { once: true });
  const once = context.settings.get(info.id)?.config.StdinOnce === true;
  const process = {
    stdout: call.flag('stdout') ? session.stdout : undefined,
    stderr: call.flag('stderr') ? session.stderr : undefined,
    ...(wantsInput ? { write: session.write.bind(session) } : {}),
    // A container whose input is not for one client only keeps it open for the next.
    ...(wantsInput && once ? { end: session.end.bind(session) } : {}),
  };
  const input = relayInput(connection, process, keys).then(async (how) => {
    if (how === 'detached') await session.detach();
  });
  input.catch(() => undefined);
  await Promise.all([
    relayOutput(connection, process, info.tty),
    call.flag('stdout') || call.flag('stderr') ? undefined : ended(context, info.id, connection.closed),
  ]);
  await session.detach();
  connection.output.end();
}

async function ended(context: ApiContext, id: string, closed: AbortSignal): Promise<void> {
  await context.runtime.wait(id, 'not-running', closed).catch(() => undefined);
}

/** Only what was said so far. */
async function replay(context: ApiContext, call: ApiCall, info: ContainerInfo): Promise<void> {
  const connection = call.hijack(!info.tty);
  if (call.flag('logs')) {
    for await (const line of context.runtime.logs(info.id)) {
      if (!call.flag(line.stream)) continue;
      if (!(await writeTo(connection.output, logBytes(line, false, info.tty)))) return;
    }
  }
  connection.output.end();
}

/** `GET /containers/{id}/stats` */
export async function containerStats(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const once = !call.flag('stream', true);
  let before: Reading | undefined;
  if (once && !call.flag('one-shot')) {
    // Two readings, because a share of the CPU is a difference.
    before = await reading(context, info);
    if (before !== undefined) await context.clock.sleep(STATS_EVERY_MS, call.closed);
  }
  if (once) return call.send(200, statsBody(info, await reading(context, info), before));
  const response = call.stream('application/json');
  while (!call.closed.aborted) {
    const now = await reading(context, await context.runtime.inspect(info.id).catch(() => info));
    if (!(await writeTo(response, `${JSON.stringify(statsBody(info, now, before))}\n`))) return;
    before = now;
    if (!(await sleeps(context, call))) return;
    if ((await context.runtime.inspect(info.id).catch(() => undefined)) === undefined) break;
  }
  response.end();
}

async function sleeps(context: ApiContext, call: ApiCall): Promise<boolean> {
  return await context.clock.sleep(STATS_EVERY_MS, call.closed).then(
    () => true,
    () => false,
  );
}

interface Reading {
  readonly stats: ContainerStats;
  readonly systemNs: number;
}

async function reading(context: ApiContext, info: ContainerInfo): Promise<Reading | undefined> {
  try {
    const [stats, systemNs] = await Promise.all([context.runtime.stats(info.id), systemCpuNs()]);
    return { stats, systemNs };
  } catch (error) {
    // One that does not run has no figures; Docker shows zeros.
    if (isHeptadError(error, 'ILLEGAL_TRANSITION') || isHeptadError(error, 'CONTAINER_NOT_FOUND'))
      return undefined;
    throw error;
  }
}

/** CPU time of the whole machine, in nanoseconds; the kernel counts in hundredths of a second. */
async function systemCpuNs(): Promise<number> {
  const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n');
  const ticks = line
    .split(/\s+/)
    .slice(1, 9)
    .reduce((sum, field) => sum + Number(field), 0);
  return ticks * 10_000_000;
}

function cpuBody(reading: Reading | undefined): Record<string, unknown> {
  const usage = reading?.stats.cpuUsageNs ?? 0;
  return {
    cpu_usage: { total_usage: usage, usage_in_kernelmode: 0, usage_in_usermode: usage },
    system_cpu_usage: reading?.systemNs ?? 0,
    online_cpus: cpus().length,
    throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
  };
}

function statsBody(
  info: ContainerInfo,
  now: Reading | undefined,
  before: Reading | undefined,
): Record<string, unknown> {
  const stats = now?.stats;
  return {
    read: timeText(stats?.at),
    preread: timeText(before?.stats.at),
    id: info.id,
    name: `/${info.name}`,
    num_procs: 0,
    storage_stats: {},
    pids_stats: stats === undefined ? {} : { current: stats.pids },
    cpu_stats: cpuBody(now),
    precpu_stats: cpuBody(before),
    memory_stats:
      stats === undefined
        ? {}
        : {
            usage: stats.memoryBytes,
            stats: { inactive_file: 0 },
            limit: stats.memoryLimitBytes ?? machineMemory,
          },
    networks:
      stats === undefined || info.networks.length === 0
        ? {}
        : {
            eth0: {
              rx_bytes: stats.networkReceivedBytes,
              tx_bytes: stats.networkSentBytes,
              rx_packets: 0,
              tx_packets: 0,
              rx_errors: 0,
              tx_errors: 0,
              rx_dropped: 0,
              tx_dropped: 0,
            },
          },
    blkio_stats: {
      io_service_bytes_recursive:
        stats === undefined
          ? []
          : [
              { major: 0, minor: 0, op: 'read', value: stats.blockReadBytes },
              { major: 0, minor: 0, op: 'write', value: stats.blockWrittenBytes },
            ],
    },
  };
}
