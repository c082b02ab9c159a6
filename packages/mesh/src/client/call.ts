// Call: one request of the in-process client, with as many attempts as are safe.

import type { Duplex } from 'node:stream';
import { HeptadError, isHeptadError } from '@heptad/core';
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import type { Dispatcher } from 'undici';
import { evaluatePolicy } from '../policy/network-policy.ts';
import { route } from '../policy/traffic-rules.ts';
import { backoffMs, isIdempotentMethod } from '../resilience/retry.ts';
import { type TracedRequest, traceRequest } from '../telemetry/spans.ts';
import { CallController } from './call-controller.ts';
import type { ClientChoice, ClientCluster } from './client-cluster.ts';
import type { ClientEndpoint } from './client-endpoint.ts';
import type { ClientContext } from './context.ts';
import { type FlatHeaders, flattenHeaders, headerOf, setHeader } from './request-headers.ts';

type Headers = Record<string, string | string[] | undefined>;

/** Errors of connecting: certainly nothing of the request was sent. */
const NEVER_SENT: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** Runs one request to its end and reports to the caller's handler exactly once. */
export class Call {
  readonly #options: Dispatcher.DispatchOptions;
  readonly #handler: Dispatcher.DispatchHandler;
  readonly #cluster: ClientCluster;
  readonly #context: ClientContext;
  readonly #url: URL;
  readonly #headers: FlatHeaders;
  readonly #trace: TracedRequest;
  readonly #beganMs: number;
  readonly #controller = new CallController((reason) => this.#end(reason));
  readonly #tried: ClientEndpoint[] = [];
  #status = 0;
  #attempts = 0;
  #over = false;

  constructor(
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
    cluster: ClientCluster,
    context: ClientContext,
    url: URL,
  ) {
    this.#options = options;
    this.#handler = handler;
    this.#cluster = cluster;
    this.#context = context;
    this.#url = url;
    this.#beganMs = context.clock.monotonicMs();
    this.#headers = flattenHeaders(options.headers);
    this.#trace = traceRequest(
      `${options.method} ${cluster.service}`,
      SpanKind.CLIENT,
      headerOf(this.#headers, 'traceparent'),
    );
    setHeader(this.#headers, 'traceparent', this.#trace.traceparent);
    // Endpoints see the name the caller used, as they do behind the node proxy.
    if (headerOf(this.#headers, 'host') === undefined) setHeader(this.#headers, 'host', url.host);
  }

  /** Runs the request; failures go to the handler, so this never rejects. */
  async run(): Promise<void> {
    this.#handler.onRequestStart?.(this.#controller, {});
    if (this.#over) return;
    try {
      if (this.#context.ready !== undefined) await this.#rulesKnown(this.#context.ready);
      this.#checkPolicy();
      const version = this.#version();
      this.#cluster.budget.deposit();
      const untilMs = this.#beganMs + this.#context.options.endpointWaitMs;
      await this.#attempt(await this.#cluster.choose(version, this.#tried, untilMs), version, untilMs);
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  async #rulesKnown(ready: Promise<unknown>): Promise<void> {
    const ms = this.#context.options.endpointWaitMs;
    const known = await new Promise<boolean>((resolve) => {
      const timer = this.#context.clock.timer(ms, () => resolve(false));
      ready.then(
        () => {
          timer.cancel();
          resolve(true);
        },
        () => resolve(false),
      );
    });
    if (known) {
      this.#context.ready = undefined;
      return;
    }
    throw new HeptadError(
      'POLICY_UNKNOWN',
      `cannot call service ${this.#cluster.service}: the policies in force could not be read within ${ms} ms`,
      { hint: 'check that the state store can be reached', retryable: true },
    );
  }

  #checkPolicy(): void {
    const rules = this.#context.rules();
    if (rules === undefined || rules.policies.length === 0) return;
    const own = this.#context.service;
    const declared = rules.services.find((service) => service.name === this.#cluster.service)?.ports[0]?.port;
    const port = this.#url.port === '' ? (declared ?? 80) : Number(this.#url.port);
    const decision = evaluatePolicy(
      rules,
      own === undefined ? {} : { service: own },
      { service: this.#cluster.service },
      port,
    );
    if (decision.allowed) return;
    throw new HeptadError(
      'POLICY_DENIED',
      `the request to service ${this.#cluster.service} is refused: ${decision.because}`,
      {
        hint: 'add a network policy rule that allows it',
      },
    );
  }

  #version(): string | undefined {
    const rules = this.#context.rules()?.rules ?? [];
    if (rules.length === 0) return undefined;
    const request = {
      service: this.#cluster.service,
      method: this.#options.method,
      path: this.#options.path.split('?', 1)[0] ?? '/',
      header: (name: string) => headerOf(this.#headers, name),
      ...(this.#context.service === undefined ? {} : { source: this.#context.service }),
    };
    return route(request, rules, this.#context.random).version;
  }

  async #attempt(choice: ClientChoice, version: string | undefined, untilMs: number): Promise<void> {
    const failure = await this.#dispatch(choice);
    if (failure === undefined || this.#over) return;
    if (!this.#mayRepeat(failure)) {
      this.#end(failure);
      return;
    }
    this.#tried.push(choice.endpoint);
    await this.#context.clock.sleep(backoffMs(this.#attempts, this.#context.random));
    if (!this.#over)
      await this.#attempt(await this.#cluster.choose(version, this.#tried, untilMs), version, untilMs);
  }

  /** One attempt; resolves with the error of one that brought no answer, or `undefined` when it is all over. */
  #dispatch({ endpoint, permit }: ClientChoice): Promise<Error | undefined> {
    this.#attempts += 1;
    const pool = endpoint.pool(endpoint.portFor(this.#url.port, this.#cluster.service));
    const beganMs = this.#context.clock.monotonicMs();
    endpoint.inFlight += 1;
    return new Promise((resolve) => {
      const settle = (failure: Error | undefined): void => {
        endpoint.inFlight -= 1;
        this.#controller.release();
        resolve(failure);
      };
      const judge = (failed: boolean): void => {
        endpoint.breaker.record(permit, !failed);
        this.#cluster.observe(endpoint, this.#context.clock.monotonicMs() - beganMs, failed);
      };
      const options = { ...this.#options, headers: this.#headers };
      delete options.origin;
      pool.dispatch(options, {
        onRequestStart: (controller) => this.#controller.follow(controller),
        onRequestUpgrade: (controller, status, headers, socket) => {
          judge(false);
          this.#onUpgrade(controller, status, headers, socket);
          settle(undefined);
        },
        onResponseStarted: () => this.#handler.onResponseStarted?.(),
        onBodySent: (chunk) => this.#handler.onBodySent?.(chunk),
        onRequestSent: () => this.#handler.onRequestSent?.(),
        onResponseStart: (controller, status, headers, message) => {
          if (status >= 200) {
            judge(status >= 502 && status <= 504);
            this.#status = status;
          }
          this.#controller.rawHeaders = controller.rawHeaders ?? null;
          this.#handler.onResponseStart?.(this.#controller, status, headers, message);
        },
        onResponseData: (_, chunk) => this.#handler.onResponseData?.(this.#controller, chunk),
        onResponseEnd: (controller, trailers) => {
          this.#controller.rawTrailers = controller.rawTrailers ?? null;
          settle(undefined);
          this.#finish(trailers);
        },
        onResponseError: (_, error) => {
          if (this.#controller.aborted) endpoint.breaker.cancel(permit);
          else if (this.#status === 0) judge(true);
          settle(this.#status === 0 && !this.#controller.aborted ? error : undefined);
          if (this.#status !== 0 || this.#controller.aborted) this.#end(error);
        },
      });
    });
  }

  #mayRepeat(failure: Error): boolean {
    if (this.#attempts >= this.#context.options.maxAttempts) return false;
    const { body, method } = this.#options;
    const unsent = 'code' in failure && NEVER_SENT.has(String(failure.code));
    const replayable =
      body === null || body === undefined || typeof body === 'string' || body instanceof Uint8Array;
    const safe = unsent || (replayable && isIdempotentMethod(method));
    return safe && this.#cluster.budget.withdraw();
  }

  #onUpgrade(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Headers,
    socket: Duplex,
  ): void {
    this.#status = status;
    this.#controller.rawHeaders = controller.rawHeaders ?? null;
    this.#handler.onRequestUpgrade?.(this.#controller, status, headers, socket);
    this.#report(undefined);
  }

  #finish(trailers: Headers): void {
    if (this.#over) return;
    this.#report(this.#status >= 500 ? String(this.#status) : undefined);
    this.#handler.onResponseEnd?.(this.#controller, trailers);
  }

  #end(error: Error): void {
    if (this.#over) return;
    this.#report(isHeptadError(error) ? error.code : 'code' in error ? String(error.code) : error.name);
    this.#handler.onResponseError?.(this.#controller, error);
  }

  #report(errorType: string | undefined): void {
    this.#over = true;
    const { method } = this.#options;
    this.#context.metrics.record({
      service: this.#cluster.service,
      method,
      status: this.#status,
      durationMs: this.#context.clock.monotonicMs() - this.#beganMs,
      ...(errorType === undefined ? {} : { errorType }),
    });
    const { span } = this.#trace;
    if (span === undefined) return;
    span.setAttributes({
      'http.request.method': method,
      'server.address': this.#cluster.service,
      'url.path': this.#options.path.split('?', 1)[0] ?? '/',
      'http.request.resend_count': Math.max(0, this.#attempts - 1),
    });
    if (this.#status !== 0) span.setAttribute('http.response.status_code', this.#status);
    if (errorType !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: errorType });
    span.end();
  }
}
