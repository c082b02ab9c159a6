// The latency fault's own processes inside the target's network namespace: a supervisor that owns the packet rules and
// a delay proxy under its own user id. Whoever dies, the fault ends: see the three guards below.
//
// 1. The injector dies: stdin ends, the supervisor removes the rules at once.
// 2. The supervisor dies: nobody renews, the kernel lets the redirection lapse; meanwhile the proxy, seeing its channel
//    close, passes everything through without delay.
// 3. The proxy dies: the supervisor removes the rules at once.

import { type ChildProcess, fork } from 'node:child_process';
import { createInterface } from 'node:readline';
import { errorMessage, systemClock, systemRandom } from '@heptad/core';
import { measureRoundTrip } from './measure.ts';
import { runNft } from './nft.ts';
import { type HelperSaid, type HelperTask, helperTask } from './protocol.ts';
import { DelayProxy } from './proxy.ts';
import { installScript, PROXY_UID, removeScript, renewScript } from './rules.ts';

/** Connections that were open when the fault ended may finish within this time. */
const DRAIN_MS = 15_000;
const DRAIN_POLL_MS = 200;
/** Round trips measured before and on demand by the supervisor. */
const MEASURE_TIMEOUT_MS = 5000;
const BASELINE_SAMPLES = 5;
const CLOCK = systemClock;

function say(message: HelperSaid): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Somebody else's process that we may not signal is there all the same.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

async function runProxy(task: HelperTask): Promise<void> {
  // The user id is how the packet rules tell the proxy's own connections from the target's.
  process.setgid?.(PROXY_UID);
  process.setuid?.(PROXY_UID);
  const proxies = await Promise.all(
    task.routes.map((route) =>
      DelayProxy.listen({
        upstream: { address: route.upstream, port: route.port },
        listen: route.hook === 'out' ? '127.0.0.1' : '0.0.0.0',
        latencyMs: task.latencyMs,
        jitterMs: task.jitterMs,
        clock: CLOCK,
        random: systemRandom,
      }),
    ),
  );
  const drain = (): void => {
    for (const proxy of proxies) proxy.stopDelaying();
    // New connections may be redirected here until the kernel's time-out: keep accepting that long.
    CLOCK.timer(Math.max(DRAIN_MS, task.ttlMs * 2), () => process.exit(0));
    CLOCK.interval(DRAIN_POLL_MS, () => {
      if (task.targetPid !== undefined && !exists(task.targetPid)) process.exit(0);
    });
    CLOCK.timer(task.ttlMs * 2, () => {
      CLOCK.interval(DRAIN_POLL_MS, () => {
        if (proxies.every((proxy) => proxy.open === 0)) process.exit(0);
      });
    });
  };
  process.on('disconnect', drain);
  process.on('message', () => {
    const all = proxies.map((proxy) => proxy.stats());
    const chunks = all.reduce((sum, stats) => sum + stats.chunks, 0);
    process.send?.({
      connections: all.reduce((sum, stats) => sum + stats.connections, 0),
      chunks,
      meanDelayMs:
        chunks === 0 ? 0 : all.reduce((sum, stats) => sum + stats.meanDelayMs * stats.chunks, 0) / chunks,
    });
  });
  process.send?.({ ports: proxies.map((proxy) => proxy.port) });
}

class Supervisor {
  readonly #task: HelperTask;
  readonly #proxy: ChildProcess;
  #deadline = CLOCK.monotonicMs();
  #ports: readonly number[] = [];
  #removed: Promise<void> | undefined;
  #installing: Promise<void> = Promise.resolve();

  constructor(task: HelperTask, proxy: ChildProcess) {
    this.#task = task;
    this.#proxy = proxy;
  }

  async run(): Promise<void> {
    this.#proxy.on('exit', () => this.remove('the delay proxy ended'));
    this.#ports = await new Promise<readonly number[]>((resolve) => {
      this.#proxy.once('message', (message: { ports: number[] }) => resolve(message.ports));
    });
    await this.#measure('baseline', BASELINE_SAMPLES);
    if (this.#removed !== undefined) return;
    this.#installing = runNft(installScript(this.#task.faultId, this.#routes(), this.#task));
    await this.#installing;
    this.#deadline = CLOCK.monotonicMs() + this.#task.ttlMs;
    this.#proxy.on('message', (stats: { connections: number; chunks: number; meanDelayMs: number }) =>
      say({ said: 'stats', ...stats }),
    );
    say({ said: 'installed' });
    CLOCK.interval(this.#task.ttlMs / 4, () => {
      if (CLOCK.monotonicMs() > this.#deadline) this.remove('nobody renewed the fault');
    });
  }

  #routes() {
    return this.#task.routes.map((route, index) => ({
      hook: route.hook,
      port: route.port,
      proxyPort: this.#ports[index] ?? 0,
      ...(route.address === undefined ? {} : { address: route.address }),
    }));
  }

  async handle(word: string): Promise<void> {
    if (this.#removed !== undefined) return;
    if (word === 'renew') {
      await runNft(renewScript(this.#task.faultId, this.#routes(), this.#task.ttlMs));
      this.#deadline = CLOCK.monotonicMs() + this.#task.ttlMs;
    } else if (word === 'observe') {
      if (this.#proxy.connected) this.#proxy.send('stats');
      await this.#measure('during', 1);
    } else if (word === 'remove') await this.remove('asked to');
  }

  // Outgoing connections can only be measured from inside: this process is in the namespace and not the proxy's user.
  async #measure(when: 'baseline' | 'during', samples: number): Promise<void> {
    const route = this.#task.routes.find(({ hook }) => hook === 'out');
    if (route === undefined) return;
    for (let i = 0; i < samples; i += 1) {
      const to = { address: route.upstream, port: route.port };
      const timeoutMs = MEASURE_TIMEOUT_MS + 2 * this.#task.latencyMs;
      const rttMs = await measureRoundTrip(to, { clock: CLOCK, timeoutMs }).catch(() => undefined);
      if (rttMs !== undefined) say({ said: 'rtt', when, rttMs });
    }
  }

  remove(because: string): Promise<void> {
    this.#removed ??= (async () => {
      // Removing while the installation runs would leave what it installs a moment later.
      await this.#installing.catch(() => {});
      await runNft(removeScript(this.#task.faultId));
      if (this.#proxy.connected) this.#proxy.disconnect();
      this.#proxy.unref();
      say({ said: 'removed', because });
      // The last words must leave the pipe before the process does; a closed pipe has nobody to tell.
      process.stdout.end(() => process.exit(0));
      CLOCK.timer(500, () => process.exit(0));
    })();
    return this.#removed;
  }
}

async function main(): Promise<void> {
  const [role, json = ''] = process.argv.slice(2);
  const task = helperTask.parse(JSON.parse(json));
  if (role === 'proxy') return runProxy(task);
  process.stdout.on('error', () => {});
  const [, file = ''] = process.argv;
  const proxy = fork(file, ['proxy', json], { detached: true, stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
  const supervisor = new Supervisor(task, proxy);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => void supervisor.remove(`got ${signal}`));
  }
  const input = createInterface({ input: process.stdin });
  let turn: Promise<void> = supervisor.run();
  input.on('line', (word) => {
    turn = turn.then(() => supervisor.handle(word));
    turn.catch(fail);
  });
  input.on('close', () => void supervisor.remove('the injector is gone'));
  await turn;
}

function fail(error: unknown): void {
  say({ said: 'failed', message: errorMessage(error) });
  process.exit(1);
}

main().catch(fail);
