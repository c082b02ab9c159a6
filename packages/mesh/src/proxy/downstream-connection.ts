// DownstreamConnection: a client connection in http mode: reads requests one after another and serves each.

import type { Socket } from 'node:net';
import type { PolicyDecision, PolicyParty } from '../policy/network-policy.ts';
import type { ProxyContext } from './context.ts';
import { Exchange } from './exchange.ts';
import { HeadBuffer } from './http1/head-buffer.ts';
import { MAX_PIPELINED_BYTES } from './http1/limits.ts';
import { HttpParseError } from './http1/parse-error.ts';
import { parseRequestHead } from './http1/request.ts';
import type { ServicePortBinding } from './listeners.ts';
import { composeProblem } from './problem.ts';

/** From a head's first byte to its last; slower clients hold a connection on purpose (slowloris). */
const HEAD_TIMEOUT_MS = 30_000;
/** An idle client connection; longer than most clients keep theirs, so that they close first. */
const IDLE_TIMEOUT_MS = 75_000;
/** After an early refusal the rest of the request is read and dropped this long: a reset would eat the answer. */
const LINGER_MS = 2_000;

/** One client connection. */
export class DownstreamConnection {
  readonly socket: Socket;
  readonly binding: ServicePortBinding;
  readonly address: string;
  readonly #context: ProxyContext;
  readonly #onClosed: () => void;
  readonly #heads = new HeadBuffer();
  #held: Buffer | undefined;
  #exchange: Exchange | undefined;
  #state: 'open' | 'tunnel' | 'lingering' | 'closed' = 'open';
  #reading = false;
  #clientEnded = false;
  #since: number;
  #party: { revision: unknown; caller: PolicyParty; decision: PolicyDecision } | undefined;

  constructor(socket: Socket, binding: ServicePortBinding, context: ProxyContext, onClosed: () => void) {
    this.socket = socket;
    this.binding = binding;
    this.address = socket.remoteAddress ?? '';
    this.#context = context;
    this.#onClosed = onClosed;
    this.#since = context.clock.monotonicMs();
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#closed());
  }

  /** Nothing to do before the first request. */
  start(): void {}

  /** Whether the connection must end after the response under way. */
  get closing(): boolean {
    return this.#context.draining;
  }

  /** The caller and what policies say, worked out once per snapshot. */
  party(): { caller: PolicyParty; decision: PolicyDecision } {
    const { state } = this.#context;
    if (this.#party?.revision !== state.snapshot) {
      const caller = state.caller(this.address);
      const decision = state.decide(caller, this.binding.service, this.binding.port);
      this.#party = { revision: state.snapshot, caller, decision };
    }
    return this.#party;
  }

  /** After a new snapshot: an upgraded connection that is no longer allowed ends; requests are checked one by one. */
  recheck(): void {
    if (this.#state === 'tunnel' && !this.party().decision.allowed) this.destroy();
  }

  /** Checks time limits. */
  tick(now: number): void {
    if (this.#state === 'lingering') this.#tickLingering(now);
    if (this.#state !== 'open') return;
    if (this.#exchange !== undefined) this.#exchange.tick(now);
    else if (this.#heads.started && now - this.#since > HEAD_TIMEOUT_MS) {
      this.#refuse(new HttpParseError(408, 'a request head that took too long'));
    } else if (!this.#heads.started && now - this.#since > IDLE_TIMEOUT_MS) this.socket.end();
  }

  /** The proxy is draining: an idle connection ends now, a busy one after its response. */
  drain(): void {
    if (this.#state === 'open' && this.#exchange === undefined && !this.#heads.started) this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Hands held bytes to the exchange for as long as it takes them. */
  pump(): void {
    const exchange = this.#exchange;
    if (exchange === undefined || this.#state !== 'open') return;
    while (this.#held !== undefined && exchange.wantsBody) {
      const held = this.#held;
      const taken = this.#guard(() => exchange.requestBody(held));
      if (taken === undefined) return;
      this.#held = taken < held.length ? held.subarray(taken) : undefined;
      if (taken === 0) break;
    }
    const blocked = exchange.bodyDone
      ? (this.#held?.length ?? 0) > MAX_PIPELINED_BYTES
      : this.#held !== undefined && !exchange.wantsBody;
    if (blocked) this.socket.pause();
    else if (this.socket.isPaused()) this.socket.resume();
  }

  /** The exchange is over; `keep`: the connection may serve the next request. */
  exchangeDone(keep: boolean): void {
    this.#exchange = undefined;
    this.#since = this.#context.clock.monotonicMs();
    if (this.#state !== 'open') return;
    if (!keep) {
      this.#linger();
      return;
    }
    if (this.socket.isPaused()) this.socket.resume();
    this.#readHeads();
  }

  /** Gives the socket away for an upgraded connection; answers the bytes that came ahead. */
  surrender(): Buffer | undefined {
    const held = this.#held;
    this.#held = undefined;
    this.#exchange = undefined;
    this.#state = 'tunnel';
    this.socket.off('data', this.#onData);
    this.socket.off('end', this.#onEnd);
    this.socket.off('drain', this.#onDrain);
    return held;
  }

  readonly #onData = (bytes: Buffer): void => {
    if (this.#state !== 'open') return;
    this.#held = this.#held === undefined ? bytes : Buffer.concat([this.#held, bytes]);
    if (this.#exchange === undefined) this.#readHeads();
    else this.pump();
  };

  readonly #onDrain = (): void => this.#exchange?.clientDrain();

  /**
   * A client that ends its side has gone, as for nginx and Node's own server: closing a socket looks the same on the wire,
   * and going on for nobody would keep the endpoint busy.
   */
  readonly #onEnd = (): void => {
    this.#clientEnded = true;
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.clientGone();
    this.socket.end();
  };

  /** A loop, not a recursion: thousands of pipelined requests may be answered without waiting. */
  #readHeads(): void {
    if (this.#reading) return;
    this.#reading = true;
    while (this.#held !== undefined && this.#exchange === undefined && this.#state === 'open') {
      const bytes = this.#held;
      this.#held = undefined;
      if (!this.#heads.started) this.#since = this.#context.clock.monotonicMs();
      const complete = this.#guard(() => this.#heads.push(bytes));
      if (complete === undefined) break;
      this.#held = complete.rest;
      const head = this.#guard(() => parseRequestHead(complete.text));
      if (head === undefined) break;
      const exchange = new Exchange(this, head, this.#context);
      this.#exchange = exchange;
      exchange.begin();
      this.pump();
    }
    this.#reading = false;
  }

  #guard<T>(parse: () => T): T | undefined {
    try {
      return parse();
    } catch (error) {
      if (!(error instanceof HttpParseError)) throw error;
      this.#refuse(error);
      return undefined;
    }
  }

  /** Answers a request that cannot be understood, and ends: where the next one begins is anybody's guess. */
  #refuse(error: HttpParseError): void {
    const started = this.#exchange?.refuse() ?? false;
    this.#exchange = undefined;
    if (started) {
      this.socket.destroy();
      return;
    }
    const code = error.status === 408 ? 'CLIENT_TIMEOUT' : 'BAD_REQUEST';
    this.socket.write(
      composeProblem(
        { status: error.status, code, detail: `the proxy refused the request: it has ${error.message}` },
        { requestId: undefined, head: false, close: true },
      ),
    );
    this.#linger();
  }

  /** The answer must be out before the clock runs; a client that takes no bytes is given up, too. */
  #tickLingering(now: number): void {
    const limitMs = this.socket.writableFinished ? LINGER_MS : this.#context.options.bodyTimeoutMs;
    if (now - this.#since > limitMs) this.destroy();
  }

  #linger(): void {
    this.#state = 'lingering';
    this.#held = undefined;
    this.#since = this.#context.clock.monotonicMs();
    this.socket.end();
    if (this.#clientEnded) return;
    this.socket.resume();
  }

  #closed(): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    this.#held = undefined;
    if (this.#state !== 'tunnel') this.#state = 'closed';
    exchange?.clientGone();
    this.#onClosed();
  }
}
