// The network-latency fault: delay connections to or from a target, without netem, and prove it by measurement.

import { HeptadError } from '@heptad/core';
import { z } from 'zod';
import type { NetworkLatencyParams } from '../experiment.ts';
import type { ActiveFault, ChaosInstance, FaultRecord, InjectionRequest, Injector, Proof } from '../types.ts';
import { LatencyHelper } from './helper-process.ts';
import { measureRoundTrip, unhindered } from './measure.ts';
import { type NamespaceRef, namespaceAt, runNft } from './nft.ts';
import type { HelperTask } from './protocol.ts';
import { removeScript } from './rules.ts';

/** Share of the asked latency that must be measured for the fault to count as proven. */
const PROVEN_SHARE = 0.5;
const BASELINE_SAMPLES = 5;
const MEASURE_TIMEOUT_MS = 5000;

// What `plan` wrote down before the fault was injected.
const planned = z.object({ namespaces: z.array(z.object({ path: z.string(), inode: z.number() })) });

interface Place {
  readonly instance: ChaosInstance;
  readonly namespace: NamespaceRef;
  /** The instance has no namespace of its own: rules must match its address, in ours. */
  readonly shared: boolean;
}

/** How to inject latency. */
export interface NetworkLatencyInjectorOptions {
  /** Path of the helper's program, when a bundler moved it. Default: beside this module. */
  readonly helperProgram?: string;
}

/**
 * Delays TCP connections with a userspace proxy and an nftables redirection inside the target's network namespace. Needs
 * root, `nft` and `nsenter`. Works for containers with their own namespace, and for processes on addresses of this host.
 *
 * The target sees the proxy's connections as coming from its own machine. UDP is not delayed.
 */
export class NetworkLatencyInjector implements Injector {
  readonly type = 'network-latency';
  readonly #program: string | undefined;

  constructor(options: NetworkLatencyInjectorOptions = {}) {
    this.#program = options.helperProgram;
  }

  async plan(request: InjectionRequest): Promise<Readonly<Record<string, unknown>>> {
    const places = await placesOf(request);
    return { namespaces: places.map(({ namespace }) => namespace) };
  }

  async inject(request: InjectionRequest): Promise<ActiveFault> {
    const params = request.params as unknown as NetworkLatencyParams;
    const places = await placesOf(request);
    const fault = new LatencyFault(request, params, places);
    try {
      for (const place of places) await fault.begin(place, this.#program);
    } catch (error) {
      await fault.remove();
      throw error;
    }
    return fault;
  }

  async undo(record: FaultRecord): Promise<string> {
    const { namespaces } = planned.parse(record.data);
    const said: string[] = [];
    for (const namespace of namespaces) {
      const now = await namespaceAt(namespace.path);
      if (now?.inode !== namespace.inode) {
        said.push(`${namespace.path} is gone, and its rules with it`);
        continue;
      }
      await runNft(removeScript(record.id), namespace);
      said.push(`rules removed from ${namespace.path}`);
    }
    return said.join('; ');
  }
}

async function placesOf(request: InjectionRequest): Promise<readonly Place[]> {
  const own = await namespaceAt('/proc/self/ns/net');
  const places: Place[] = [];
  for (const instance of request.target.instances) {
    const path = instance.netns ?? (instance.pid === undefined ? undefined : `/proc/${instance.pid}/ns/net`);
    const namespace = path === undefined ? undefined : await namespaceAt(path);
    if (namespace === undefined) {
      throw cannot(
        request,
        `instance ${instance.id} has no network namespace at ${path ?? '(no pid, no path)'}`,
      );
    }
    if ((instance.ports ?? []).length === 0)
      throw cannot(request, `instance ${instance.id} serves no known TCP port`);
    const shared = namespace.inode === own?.inode;
    if (shared && instance.address === undefined) {
      throw cannot(
        request,
        `instance ${instance.id} shares the host's network and has no address of its own`,
      );
    }
    places.push({ instance, namespace, shared });
  }
  if (places.length === 0) throw cannot(request, 'it has no running instance');
  return places;
}

function cannot(request: InjectionRequest, why: string): HeptadError<'INJECTION_FAILED'> {
  return new HeptadError('INJECTION_FAILED', `cannot delay connections of ${request.target.name}: ${why}`);
}

class LatencyFault implements ActiveFault {
  readonly #request: InjectionRequest;
  readonly #params: NetworkLatencyParams;
  readonly #places: readonly Place[];
  readonly #helpers: { helper: LatencyHelper; place: Place }[] = [];
  readonly #before: number[] = [];
  readonly #during: number[] = [];
  readonly #after: number[] = [];

  constructor(request: InjectionRequest, params: NetworkLatencyParams, places: readonly Place[]) {
    this.#request = request;
    this.#params = params;
    this.#places = places;
  }

  async begin(place: Place, program: string | undefined): Promise<void> {
    for (let i = 0; i < BASELINE_SAMPLES; i += 1)
      await this.#measure(place, this.#before, this.#request.signal);
    const task: HelperTask = {
      faultId: this.#request.faultId,
      latencyMs: this.#params.latencyMs,
      jitterMs: this.#params.jitterMs,
      existing: this.#params.existing,
      ttlMs: this.#request.ttlMs,
      targetPid: place.instance.pid,
      routes: this.#routes(place),
    };
    const { clock } = this.#request;
    const helper = await LatencyHelper.start(task, place.namespace, {
      clock,
      ...(program === undefined ? {} : { program }),
    });
    this.#helpers.push({ helper, place });
    this.#request.onEvent(
      `connections of ${place.instance.id} now pass a delay of ${this.#params.latencyMs} ms`,
    );
  }

  #routes(place: Place): HelperTask['routes'] {
    const { direction } = this.#params;
    const upstream = place.instance.address ?? '127.0.0.1';
    const incoming: HelperTask['routes'] = (place.instance.ports ?? []).map((port) =>
      place.shared ? { hook: 'out', address: upstream, port, upstream } : { hook: 'in', port, upstream },
    );
    const outgoing: HelperTask['routes'] = (this.#request.target.peers ?? []).map(({ address, port }) => ({
      hook: 'out',
      address,
      port,
      upstream: address,
    }));
    if (direction !== 'to' && outgoing.length === 0) {
      throw cannot(this.#request, `direction ${direction} needs to know its peers, and it has none`);
    }
    if (direction !== 'to' && place.shared) {
      throw cannot(
        this.#request,
        'outgoing connections of a process cannot be told from others on the host network',
      );
    }
    return [...(direction === 'from' ? [] : incoming), ...(direction === 'to' ? [] : outgoing)];
  }

  async renew(): Promise<void> {
    for (const { helper } of this.#helpers) helper.say('renew');
  }

  async observe(signal: AbortSignal): Promise<void> {
    for (const { helper, place } of this.#helpers) {
      if (!helper.alive) continue;
      helper.say('observe');
      if (this.#params.direction !== 'from') await this.#measure(place, this.#during, signal);
    }
  }

  async remove(): Promise<void> {
    for (const { helper, place } of this.#helpers.splice(0)) {
      this.#before.push(...helper.rttMs.baseline);
      this.#during.push(...helper.rttMs.during);
      this.#chunks += helper.stats.chunks;
      this.#delaySumMs += helper.stats.chunks * helper.stats.meanDelayMs;
      if (await helper.remove()) continue;
      const now = await namespaceAt(place.namespace.path);
      if (now?.inode === place.namespace.inode)
        await runNft(removeScript(this.#request.faultId), place.namespace);
    }
  }

  #chunks = 0;
  #delaySumMs = 0;

  async recovered(signal: AbortSignal): Promise<void> {
    if (this.#params.direction === 'from') return;
    for (const place of this.#places) {
      for (let i = 0; i < BASELINE_SAMPLES; i += 1) await this.#measure(place, this.#after, signal);
    }
    const limitMs = unhindered(this.#before) + this.#params.latencyMs * PROVEN_SHARE;
    if (this.#after.length > 0 && unhindered(this.#after) > limitMs) {
      throw new HeptadError(
        'NOT_RECOVERED',
        `${this.#request.target.name} is still slow after the fault was removed: round trip ${unhindered(this.#after).toFixed(1)} ms, was ${unhindered(this.#before).toFixed(1)} ms`,
      );
    }
  }

  proof(): Proof {
    const before = unhindered(this.#before);
    const during = unhindered(this.#during);
    const after = unhindered(this.#after);
    const oneWay = this.#chunks === 0 ? 0 : this.#delaySumMs / this.#chunks;
    const evidence = {
      askedLatencyMs: this.#params.latencyMs,
      roundTripBeforeMs: this.#before,
      roundTripDuringMs: this.#during,
      roundTripAfterMs: this.#after,
      delayedChunks: this.#chunks,
      meanOneWayDelayMs: oneWay,
    };
    const needed = this.#params.latencyMs * PROVEN_SHARE;
    if (during - before >= needed) {
      const text = `round trip ${before.toFixed(1)} ms before, ${during.toFixed(1)} ms during (${this.#during.length} measurements), ${after.toFixed(1)} ms after; asked for +${this.#params.latencyMs} ms`;
      return { proven: true, because: text, evidence };
    }
    if (Number.isNaN(during) && this.#chunks > 0 && oneWay * 2 >= needed) {
      const text = `${this.#chunks} pieces of real traffic were held back ${oneWay.toFixed(1)} ms each way`;
      return { proven: true, because: text, evidence };
    }
    const why = Number.isNaN(during)
      ? 'no round trip could be measured and no traffic passed the delay'
      : `round trip ${before.toFixed(1)} ms before and ${during.toFixed(1)} ms during: less than half of the ${this.#params.latencyMs} ms asked for`;
    return { proven: false, because: why, evidence };
  }

  async #measure(place: Place, into: number[], signal: AbortSignal): Promise<void> {
    const port = place.instance.ports?.[0];
    if (port === undefined) return;
    const { clock } = this.#request;
    const to = { address: place.instance.address ?? '127.0.0.1', port };
    const timeoutMs = MEASURE_TIMEOUT_MS + this.#params.latencyMs * 2;
    // A target that does not answer is a finding of the probe, not of the measurement.
    const rttMs = await measureRoundTrip(to, { clock, timeoutMs, signal }).catch(() => undefined);
    if (rttMs !== undefined) into.push(rttMs);
  }
}
