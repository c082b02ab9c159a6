// Exchange: one request and its response, with as many attempts as are safe.

import type { Timer } from '@heptad/core';
import { SpanKind } from '@opentelemetry/api';
import { route } from '../policy/traffic-rules.ts';
import { backoffMs, isIdempotentMethod } from '../resilience/retry.ts';
import { randomHex } from '../telemetry/random-hex.ts';
import { type TracedRequest, traceRequest } from '../telemetry/spans.ts';
import type { ProxyContext } from './context.ts';
import type { DownstreamConnection } from './downstream-connection.ts';
import { BodyReader } from './http1/body.ts';
import { fieldValue } from './http1/fields.ts';
import { HeadBuffer } from './http1/head-buffer.ts';
import { MAX_REPLAY_BYTES } from './http1/limits.ts';
import { HttpParseError } from './http1/parse-error.ts';
import { composeRequestHead, type RequestHead } from './http1/request.ts';
import { composeResponseHead, parseResponseHead, type ResponseHead } from './http1/response.ts';
import { composeProblem, type ProxyProblem } from './problem.ts';
import { reportExchange } from './report.ts';
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
  readonly responseHeads: HeadBuffer;
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
  readonly #requestBody: BodyReader;
  readonly #tried: UpstreamEndpoint[] = [];
  #cluster: ServiceCluster | undefined;
  #version: string | undefined;
  #attempt: Attempt | undefined;
  #response: { head: ResponseHead; body: BodyReader; close: boolean; dechunk: boolean } | undefined;
  // The body so far, for a second attempt; undefined once it is too long to keep.
  #replay: Buffer[] | undefined = [];
  #replayBytes = 0;
  #upstreamBlocked = false;
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
    this.#requestBody = new BodyReader(head.framing);
    this.beganAt = context.clock.now();
    this.beganMs = context.clock.monotonicMs();
    this.#activityMs = this.beganMs;
    const id = fieldValue(head.fields, 'x-request-id');
    this.requestId = id !== undefined && REQUEST_ID.test(id) ? id : randomHex(16);
    const traceparent = fieldValue(head.fields, 'traceparent');
    this.trace = traceRequest(`${head.method} ${owner.binding.service}`, SpanKind.SERVER, traceparent);
  }

  /** The request's body has been read to its end. */
  get bodyDone(): boolean {
    return this.#requestBody.done;
  }

  /** Whether body bytes can be taken now. */
  get wantsBody(): boolean {
    if (this.#requestBody.done || this.#over) return false;
    const connection = this.#attempt?.connection;
    // Before it is connected only a little is sent, so that a refused connection loses nothing.
    return (
      connection !== undefined && !this.#upstreamBlocked && (connection.connected || this.#replayBytes === 0)
    );
  }

  /** Checks policy, chooses the version and makes the first attempt. */
  begin(): void {
    const { caller, decision } = this.#owner.party();
    const { service, port } = this.#owner.binding;
    if (!decision.allowed) {
      this.#fail({
        status: 403,
        code: 'POLICY_DENIED',
        detail: `the request to service ${service} is refused: ${decision.because}`,
        hint: 'add a network policy rule that allows it, or see `heptad mesh policies`',
      });
      return;
    }
    this.#cluster = this.#context.state.clusters.get(service);
    if (this.#cluster === undefined) {
      this.#fail({
        status: 503,
        code: 'NO_SUCH_SERVICE',
        detail: `service ${service} on port ${port} no longer exists`,
      });
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
    const end = this.#requestBody.feed(bytes, 0);
    const slice = this.#requestBody.forwardable(bytes, end);
    this.#replayBytes += slice.length;
    if (this.#replayBytes > MAX_REPLAY_BYTES) this.#replay = undefined;
    this.#replay?.push(slice);
    this.#activityMs = this.#context.clock.monotonicMs();
    this.#upstreamBlocked = !attempt.connection.socket.write(slice);
    return end;
  }

  upstreamConnected(): void {
    this.#activityMs = this.#context.clock.monotonicMs();
    this.#owner.pump();
  }

  upstreamDrain(): void {
    this.#upstreamBlocked = false;
    this.#activityMs = this.#context.clock.monotonicMs();
    this.#owner.pump();
  }

  upstreamData(bytes: Buffer): void {
    const attempt = this.#attempt;
    if (attempt === undefined || this.#over) return;
    this.#activityMs = this.#context.clock.monotonicMs();
    attempt.gotByte = true;
    try {
      if (this.#response === undefined) this.#readResponseHeads(attempt, bytes);
      else this.#forward(attempt, bytes);
    } catch (error) {
      if (!(error instanceof HttpParseError)) throw error;
      this.#upstreamBroke('UPSTREAM_INVALID', `answered with ${error.message}`);
    }
  }

  upstreamClosed(error: Error | undefined): void {
    const attempt = this.#attempt;
    if (attempt === undefined || this.#over) return;
    if (this.#response?.head.framing.kind === 'close' && error === undefined) {
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
    } else if (this.#response === undefined && this.#requestBody.done) {
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
    const { service } = cluster;
    if (choice.reason === 'circuit-open') {
      this.#fail({
        status: 503,
        code: 'CIRCUIT_OPEN',
        detail: `every endpoint of service ${service} keeps failing, so none is called now`,
        hint: `see \`heptad logs ${service}\``,
        retryAfterSeconds: Math.max(1, Math.ceil(choice.retryAfterMs / 1_000)),
      });
      return;
    }
    const now = this.#context.clock.monotonicMs();
    this.#waitUntilMs ??= now + this.#context.options.endpointWaitMs;
    if (now < this.#waitUntilMs && cluster.wait(this.#wake)) return;
    const version =
      this.#version === undefined ? '' : ` of version ${this.#version}, which a traffic rule asks for`;
    this.#fail({
      status: 503,
      code: 'NO_ENDPOINT',
      detail: `service ${service} has no ready endpoint${version}`,
      hint: `see \`heptad ps ${service}\``,
      retryAfterSeconds: 1,
    });
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
      this.#fail({
        status: 503,
        code: 'OVERLOADED',
        detail: `endpoint ${endpoint.id} of service ${service} has too many requests in flight`,
        retryAfterSeconds: 1,
      });
      return;
    }
    const now = this.#context.clock.monotonicMs();
    this.#attempt = {
      endpoint,
      permit,
      connection,
      port,
      beganMs: now,
      responseHeads: new HeadBuffer(),
      gotByte: false,
    };
    this.#activityMs = now;
    this.#upstreamBlocked = false;
    const { socket } = connection;
    socket.write(
      composeRequestHead(this.head, {
        clientAddress: this.#owner.party().caller.address ?? '',
        traceparent: this.trace.traceparent,
        requestId: this.requestId,
      }),
      'latin1',
    );
    for (const piece of this.#replay ?? []) this.#upstreamBlocked = !socket.write(piece);
    this.#owner.pump();
  }

  #readResponseHeads(attempt: Attempt, bytes: Buffer): void {
    let rest: Buffer | undefined = bytes;
    while (rest !== undefined) {
      const complete = attempt.responseHeads.push(rest);
      if (complete === undefined) return;
      const head = parseResponseHead(complete.text, this.head.method);
      if (head.status === 101) {
        this.#upgrade(attempt, head, complete.rest);
        return;
      }
      if (head.status >= 200) {
        this.#startResponse(attempt, head, complete.rest);
        return;
      }
      rest = complete.rest;
      const wanted = this.head.minorVersion === 1 && (head.status !== 100 || this.head.expectContinue);
      if (wanted) this.#owner.socket.write(this.#composeHead(head, false, false), 'latin1');
    }
  }

  #startResponse(attempt: Attempt, head: ResponseHead, rest: Buffer | undefined): void {
    const failed = head.status >= 502 && head.status <= 504;
    attempt.endpoint.breaker.record(attempt.permit, !failed);
    const elapsed = this.#context.clock.monotonicMs() - attempt.beganMs;
    this.#cluster?.observe(attempt.endpoint, elapsed, failed);
    const dechunk = head.framing.kind === 'chunked' && this.head.minorVersion === 0;
    const close = !this.head.keepAlive || this.#owner.closing || dechunk || head.framing.kind === 'close';
    this.status = head.status;
    this.#response = { head, body: new BodyReader(head.framing), close, dechunk };
    this.#owner.socket.cork();
    this.#owner.socket.write(
      this.#composeHead(head, head.framing.kind === 'chunked' && !dechunk, close),
      'latin1',
    );
    this.#forward(attempt, rest);
    this.#owner.socket.uncork();
  }

  #composeHead(head: ResponseHead, chunked: boolean, close: boolean): string {
    const sayKeepAlive = this.head.minorVersion === 0 && !close;
    return composeResponseHead(head, { chunked, close, sayKeepAlive, requestId: this.requestId });
  }

  #forward(attempt: Attempt, bytes: Buffer | undefined): void {
    const response = this.#response;
    if (response === undefined) return;
    let end = 0;
    if (bytes !== undefined) {
      const client = this.#owner.socket;
      let flowing = true;
      if (response.dechunk) {
        end = response.body.feed(bytes, 0, (slice) => {
          flowing = client.write(slice);
        });
      } else {
        end = response.body.feed(bytes, 0);
        if (end > 0) flowing = client.write(response.body.forwardable(bytes, end));
      }
      if (!flowing && !response.body.done) attempt.connection.socket.pause();
    }
    // Bytes beyond the answer belong to no request: the connection cannot be trusted any more.
    if (response.body.done) this.#finish(attempt, bytes === undefined || end === bytes.length);
  }

  #finish(attempt: Attempt, clean: boolean): void {
    const response = this.#response;
    if (response === undefined) return;
    const reusable = clean && response.head.keepAlive && this.#requestBody.done && !this.#upstreamBlocked;
    this.#attempt = undefined;
    attempt.endpoint.inFlight -= 1;
    if (reusable)
      attempt.endpoint.release(attempt.port, attempt.connection, response.head.keepAliveTimeoutMs);
    else attempt.connection.destroy();
    this.#report(undefined);
    this.#owner.exchangeDone(!response.close && this.#requestBody.done);
  }

  #upgrade(attempt: Attempt, head: ResponseHead, rest: Buffer | undefined): void {
    if (this.head.upgrade === undefined) {
      throw new HttpParseError(400, 'a protocol switch nobody asked for');
    }
    this.status = 101;
    attempt.endpoint.breaker.record(attempt.permit, true);
    const client = this.#owner.socket;
    const upstream = attempt.connection.surrender();
    client.write(this.#composeHead(head, false, false), 'latin1');
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
    const replayable = this.#replay !== undefined;
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
    this.#fail({
      status: 502,
      code: unsent ? 'UPSTREAM_UNREACHABLE' : 'UPSTREAM_CLOSED',
      detail: `endpoint ${endpoint.id} (${endpoint.address}:${attempt.port}) of service ${endpoint.service} failed after ${this.attempts} attempt(s): ${reason}`,
      hint:
        idempotent || unsent ? 'try again' : 'the request may have taken effect: check before repeating it',
    });
  }

  /** An answer that began is broken, or never came: no second attempt. */
  #upstreamBroke(code: 'UPSTREAM_INVALID' | 'UPSTREAM_CLOSED' | 'UPSTREAM_TIMEOUT', what: string): void {
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
    this.#fail({
      status: code === 'UPSTREAM_TIMEOUT' ? 504 : 502,
      code,
      detail: `endpoint ${attempt.endpoint.id} of service ${attempt.endpoint.service} ${what}`,
    });
  }

  #fail(problem: ProxyProblem): void {
    if (this.#over) return;
    const keep = this.head.keepAlive && !this.#owner.closing && this.#requestBody.done;
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
