// Exchange: one request and its response, with as many attempts as are safe.

import type { Timer } from '@heptad/core';
import { SpanKind } from '@opentelemetry/api';
import { route } from '../policy/traffic-rules.ts';
import { backoffMs, isIdempotentMethod } from '../resilience/retry.ts';
import { randomHex } from '../telemetry/random-hex.ts';
import { type TracedRequest, traceRequest } from '../telemetry/spans.ts';
import type { ProxyContext } from './context.ts';
import type { DownstreamConnection } from './downstream-connection.ts';
import {
  attemptFailed,
  type BrokenAnswerCode,
  brokenAnswer,
  circuitOpen,
  noEndpoint,
  noSuchService,
  overloaded,
  policyDenied,
} from './exchange-problems.ts';
import { fieldValue } from './http1/fields.ts';
import { HttpParseError } from './http1/parse-error.ts';
import { composeRequestHead, type RequestHead } from './http1/request.ts';
import { composeProblem, type ProxyProblem } from './problem.ts';
import { reportExchange } from './report.ts';
import { RequestBody } from './request-body.ts';
import { type Forwarded, type ReceivedHead, ResponseForwarder } from './response-forwarder.ts';
import type { ServiceCluster } from './service-cluster.ts';
import { tunnel } from './tunnel.ts';
import type { UpstreamConnection, UpstreamUser } from './upstream-connection.ts';
import type { UpstreamEndpoint } from './upstream-endpoint.ts';

/** Ids that callers send are kept when they are harmless to logs. */
const REQUEST_ID = /^[\w.:/+=-]{1,128}$/;

/** One attempt at one endpoint. */
interface Attempt {
  readonly endpoint: UpstreamEndpoint;
  readonly permit: number;
  readonly connection: UpstreamConnection;
  readonly port: number;
  readonly beganMs: number;
  gotByte: boolean;
}

/** Serves one request. Never more than one attempt at a time; no second one after the first byte of an answer. */
export class Exchange implements UpstreamUser {
  readonly head: RequestHead;
  readonly requestId: string;
  readonly trace: TracedRequest;
  readonly beganAt: number;
  readonly beganMs: number;
  attempts = 0;
  /** Status sent to the client; 0 until then. */
  status = 0;
  endpointId: string | undefined;
  readonly #owner: DownstreamConnection;
  readonly #context: ProxyContext;
  readonly #body: RequestBody;
  readonly #response: ResponseForwarder;
  readonly #tried: UpstreamEndpoint[] = [];
  #cluster: ServiceCluster | undefined;
  #version: string | undefined;
  #attempt: Attempt | undefined;
  #usedFresh = false;
  #activityMs: number;
  #waitUntilMs: number | undefined;
  #retryTimer: Timer | undefined;
  #over = false;
  readonly #wake = (): void => this.#next(false);

  constructor(owner: DownstreamConnection, head: RequestHead, context: ProxyContext) {
    this.#owner = owner;
    this.head = head;
    this.#context = context;
    this.#body = new RequestBody(head.framing);
    this.beganAt = context.clock.now();
    this.beganMs = context.clock.monotonicMs();
    this.#activityMs = this.beganMs;
    const id = fieldValue(head.fields, 'x-request-id');
    this.requestId = id !== undefined && REQUEST_ID.test(id) ? id : randomHex(16);
    this.#response = new ResponseForwarder(head, this.requestId, owner.socket);
    const traceparent = fieldValue(head.fields, 'traceparent');
    this.trace = traceRequest(`${head.method} ${owner.binding.service}`, SpanKind.SERVER, traceparent);
  }

  /** The request's body has been read to its end. */
  get bodyDone(): boolean {
    return this.#body.done;
  }

  /** Whether body bytes can be taken now. */
  get wantsBody(): boolean {
    const connection = this.#attempt?.connection;
    if (connection === undefined || this.#body.done || this.#over) return false;
    // Before it is connected only a little is sent, so that a refused connection loses nothing.
    return !this.#body.blocked && (connection.connected || this.#body.untouched);
  }

  /** Checks policy, chooses the version and makes the first attempt. */
  begin(): void {
    const { caller, decision } = this.#owner.party();
    const { service, port } = this.#owner.binding;
    if (!decision.allowed) {
      this.#fail(policyDenied(service, decision.because));
      return;
    }
    this.#cluster = this.#context.state.clusters.get(service);
    if (this.#cluster === undefined) {
      this.#fail(noSuchService(service, port));
      return;
    }
    const rules = this.#context.state.rulesOf(service);
    if (rules.length > 0) {
      const { method, path, fields } = this.head;
      const request = { service, method, path, header: (name: string) => fieldValue(fields, name) };
      const source = caller.service === undefined ? {} : { source: caller.service };
      this.#version = route({ ...request, ...source }, rules, this.#context.random).version;
    }
    this.#cluster.budget.deposit();
    this.#next(false);
  }

  /** Takes body bytes; answers how many belonged to the body. Errors: HttpParseError. */
  requestBody(bytes: Buffer): number {
    const attempt = this.#attempt;
    if (attempt === undefined) return 0;
    this.#activityMs = this.#context.clock.monotonicMs();
    return this.#body.take(bytes, attempt.connection.socket, attempt.connection.connected);
  }

  upstreamConnected(): void {
    this.#activityMs = this.#context.clock.monotonicMs();
    this.#owner.pump();
  }

  upstreamDrain(): void {
    this.#body.blocked = false;
    this.#activityMs = this.#context.clock.monotonicMs();
    this.#owner.pump();
  }

  upstreamData(bytes: Buffer): void {
    const attempt = this.#attempt;
    if (attempt === undefined || this.#over) return;
    this.#activityMs = this.#context.clock.monotonicMs();
    attempt.gotByte = true;
    try {
      if (this.#response.head !== undefined) this.#forwarded(attempt, this.#response.forward(bytes));
      else {
        const received = this.#response.readHead(bytes);
        if (received !== undefined) this.#answer(attempt, received);
      }
    } catch (error) {
      if (!(error instanceof HttpParseError)) throw error;
      this.#upstreamBroke('UPSTREAM_INVALID', `answered with ${error.message}`);
    }
  }

  upstreamClosed(error: Error | undefined): void {
    const attempt = this.#attempt;
    if (attempt === undefined || this.#over) return;
    if (this.#response.head?.framing.kind === 'close' && error === undefined) {
      this.#finish(attempt, false);
    } else if (attempt.gotByte) {
      this.#upstreamBroke('UPSTREAM_CLOSED', 'ended in the middle of its answer');
    } else {
      this.#attemptFailed(attempt, error?.message ?? 'the connection ended without an answer');
    }
  }

  /** The client can take bytes again. */
  clientDrain(): void {
    this.#activityMs = this.#context.clock.monotonicMs();
    this.#attempt?.connection.socket.resume();
  }

  /** The client is gone: nobody wants the answer. Says nothing about the endpoint. */
  clientGone(): void {
    if (this.#over) return;
    this.#abandon();
    this.#report('CLIENT_CLOSED');
  }

  /** The rest of the request turned out to be malformed; answers whether the response had begun. */
  refuse(): boolean {
    const started = this.status !== 0;
    if (!this.#over) {
      this.#abandon();
      this.#report('BAD_REQUEST');
    }
    return started;
  }

  /** Checks time limits. */
  tick(now: number): void {
    const attempt = this.#attempt;
    const { options } = this.#context;
    if (attempt === undefined) {
      if (this.#waitUntilMs !== undefined && now >= this.#waitUntilMs) this.#next(false);
      return;
    }
    const silentMs = now - this.#activityMs;
    if (!attempt.connection.connected) {
      if (now - attempt.beganMs < options.connectTimeoutMs) return;
      attempt.connection.destroy();
      this.#attemptFailed(attempt, `no connection within ${options.connectTimeoutMs} ms`);
    } else if (this.#response.head === undefined && this.#body.done) {
      if (silentMs > options.responseTimeoutMs) {
        this.#upstreamBroke('UPSTREAM_TIMEOUT', `did not answer within ${options.responseTimeoutMs} ms`);
      }
    } else if (silentMs > options.bodyTimeoutMs) {
      this.#abandon();
      this.#report('CLIENT_TIMEOUT');
      this.#owner.destroy();
    }
  }

  /** Finds an endpoint and sends the request, or waits for one, or fails. */
  #next(fresh: boolean): void {
    const cluster = this.#cluster;
    if (this.#over || cluster === undefined || this.#attempt !== undefined) return;
    cluster.stopWaiting(this.#wake);
    const choice = cluster.choose(this.#version, this.#tried);
    if (choice.endpoint !== undefined) {
      this.#send(choice.endpoint, choice.permit, fresh);
      return;
    }
    if (choice.reason === 'circuit-open') {
      this.#fail(circuitOpen(cluster.service, choice.retryAfterMs));
      return;
    }
    const now = this.#context.clock.monotonicMs();
    this.#waitUntilMs ??= now + this.#context.options.endpointWaitMs;
    if (now < this.#waitUntilMs && cluster.wait(this.#wake)) return;
    this.#fail(noEndpoint(cluster.service, this.#version));
  }

  #send(endpoint: UpstreamEndpoint, permit: number, fresh: boolean): void {
    const { service, port: servicePort } = this.#owner.binding;
    const name = this.#context.state
      .service(service)
      ?.ports.find((entry) => entry.port === servicePort)?.name;
    const port = endpoint.portFor(name ?? '', servicePort);
    endpoint.inFlight += 1;
    this.attempts += 1;
    this.endpointId = endpoint.id;
    const connection = endpoint.open(port, this, fresh);
    if (connection === undefined) {
      endpoint.inFlight -= 1;
      endpoint.breaker.cancel(permit);
      this.#fail(overloaded(endpoint));
      return;
    }
    const now = this.#context.clock.monotonicMs();
    this.#attempt = { endpoint, permit, connection, port, beganMs: now, gotByte: false };
    this.#activityMs = now;
    connection.socket.write(
      composeRequestHead(this.head, {
        clientAddress: this.#owner.party().caller.address ?? '',
        traceparent: this.trace.traceparent,
        requestId: this.requestId,
      }),
      'latin1',
    );
    this.#body.replay(connection.socket);
    this.#owner.pump();
  }

  #answer(attempt: Attempt, received: ReceivedHead): void {
    const { status } = received.head;
    if (status === 101) {
      this.#upgrade(attempt, received);
      return;
    }
    const failed = status >= 502 && status <= 504;
    attempt.endpoint.breaker.record(attempt.permit, !failed);
    this.#cluster?.observe(attempt.endpoint, this.#context.clock.monotonicMs() - attempt.beganMs, failed);
    this.status = status;
    this.#forwarded(attempt, this.#response.start(received, this.#owner.closing));
  }

  #forwarded(attempt: Attempt, { done, clean, flowing }: Forwarded): void {
    if (done) this.#finish(attempt, clean);
    else if (!flowing) attempt.connection.socket.pause();
  }

  #finish(attempt: Attempt, clean: boolean): void {
    const { head, close } = this.#response;
    const reusable = clean && head?.keepAlive === true && this.#body.done && !this.#body.blocked;
    this.#attempt = undefined;
    attempt.endpoint.inFlight -= 1;
    if (reusable) attempt.endpoint.release(attempt.port, attempt.connection, head.keepAliveTimeoutMs);
    else attempt.connection.destroy();
    this.#report(undefined);
    this.#owner.exchangeDone(!close && this.#body.done);
  }

  #upgrade(attempt: Attempt, { head, rest }: ReceivedHead): void {
    if (this.head.upgrade === undefined) {
      throw new HttpParseError(400, 'a protocol switch nobody asked for');
    }
    this.status = 101;
    attempt.endpoint.breaker.record(attempt.permit, true);
    const client = this.#owner.socket;
    const upstream = attempt.connection.surrender();
    this.#response.switchProtocols(head);
    if (rest !== undefined) client.write(rest);
    const early = this.#owner.surrender();
    if (early !== undefined) upstream.write(early);
    this.#attempt = undefined;
    tunnel(client, upstream, (error) => {
      attempt.endpoint.inFlight -= 1;
      this.#report(error === undefined ? undefined : 'CONNECTION_BROKEN');
    });
  }

  /** No byte of an answer came. Tries again when that is certainly harmless, else says what happened. */
  #attemptFailed(attempt: Attempt, reason: string): void {
    const { endpoint, connection, permit } = attempt;
    this.#attempt = undefined;
    endpoint.inFlight -= 1;
    const idempotent = isIdempotentMethod(this.head.method);
    const unsent = !connection.connected;
    const { replayable } = this.#body;
    if (connection.reused && idempotent && replayable && !this.#usedFresh) {
      // The endpoint closed an idle connection just as it was used: no failure of anybody, so no charge to the budget.
      this.#usedFresh = true;
      endpoint.breaker.cancel(permit);
      this.#next(true);
      return;
    }
    endpoint.breaker.record(permit, false);
    this.#cluster?.observe(endpoint, this.#context.clock.monotonicMs() - attempt.beganMs, true);
    const again = (unsent || idempotent) && replayable && this.attempts < this.#context.options.maxAttempts;
    if (again && this.#cluster?.budget.withdraw()) {
      this.#tried.push(endpoint);
      const wait = backoffMs(this.attempts, this.#context.random);
      this.#retryTimer = this.#context.clock.timer(wait, () => this.#next(false));
      return;
    }
    this.#fail(attemptFailed(endpoint, attempt.port, { count: this.attempts, unsent, idempotent, reason }));
  }

  /** An answer that began is broken, or never came: no second attempt. */
  #upstreamBroke(code: BrokenAnswerCode, what: string): void {
    const attempt = this.#attempt;
    if (attempt === undefined) return;
    this.#attempt = undefined;
    attempt.endpoint.inFlight -= 1;
    attempt.connection.destroy();
    attempt.endpoint.breaker.record(attempt.permit, false);
    if (this.status !== 0) {
      // The client must see that its answer is cut short: an orderly end could pass for the whole of it.
      this.#report(code);
      this.#owner.socket.resetAndDestroy();
      return;
    }
    this.#fail(brokenAnswer(attempt.endpoint, code, what));
  }

  #fail(problem: ProxyProblem): void {
    if (this.#over) return;
    const keep = this.head.keepAlive && !this.#owner.closing && this.#body.done;
    const options = { requestId: this.requestId, head: this.head.method === 'HEAD', close: !keep };
    this.status = problem.status;
    this.#owner.socket.write(composeProblem(problem, options));
    this.#report(problem.code);
    this.#owner.exchangeDone(keep);
  }

  #abandon(): void {
    const attempt = this.#attempt;
    this.#attempt = undefined;
    if (attempt === undefined) return;
    attempt.endpoint.inFlight -= 1;
    attempt.endpoint.breaker.cancel(attempt.permit);
    attempt.connection.destroy();
  }

  #report(error: string | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#retryTimer?.cancel();
    this.#cluster?.stopWaiting(this.#wake);
    reportExchange(this, this.#owner, this.#context, this.#cluster, error);
  }
}
