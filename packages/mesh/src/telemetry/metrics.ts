// Request metrics through the OpenTelemetry API, with the names of its semantic conventions.

import { type Attributes, type Counter, type Histogram, metrics } from '@opentelemetry/api';

const METER = '@heptad/mesh';
/** Bucket bounds in seconds that the HTTP semantic conventions advise. */
const DURATION_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** What is known of a request when it has ended. */
export interface RequestObservation {
  /** The service called. */
  readonly service: string;
  readonly method: string;
  /** 0 when there was no answer. */
  readonly status: number;
  readonly durationMs: number;
  /** Set for failures: an error code, or the status as text. */
  readonly errorType?: string;
}

/** Records request counts, durations and errors of one role (`http.client` or `http.server`). */
export class RequestMetrics {
  readonly #duration: Histogram;
  readonly #requests: Counter;
  readonly #errors: Counter;
  // Attribute sets are few (services x methods x statuses) and are reused: no garbage on the forwarding path.
  readonly #attributes = new Map<string, Attributes>();

  /** Instruments bind to the meter provider registered at this moment: register the SDK first. */
  constructor(role: 'http.client' | 'http.server') {
    const meter = metrics.getMeter(METER);
    this.#duration = meter.createHistogram(`${role}.request.duration`, {
      unit: 's',
      description: 'Duration of HTTP requests',
      advice: { explicitBucketBoundaries: DURATION_BOUNDS },
    });
    const prefix = role === 'http.client' ? 'heptad.mesh.client' : 'heptad.mesh.server';
    this.#requests = meter.createCounter(`${prefix}.requests`, { description: 'Requests ended' });
    this.#errors = meter.createCounter(`${prefix}.errors`, {
      description: 'Requests that got no answer or a 5xx',
    });
  }

  /** Records one ended request. */
  record(observation: RequestObservation): void {
    const attributes = this.#attributesOf(observation);
    this.#duration.record(observation.durationMs / 1_000, attributes);
    this.#requests.add(1, attributes);
    if (observation.errorType !== undefined) this.#errors.add(1, attributes);
  }

  #attributesOf(observation: RequestObservation): Attributes {
    const key = `${observation.service} ${observation.method} ${observation.status} ${observation.errorType ?? ''}`;
    const known = this.#attributes.get(key);
    if (known !== undefined) return known;
    const attributes: Attributes = {
      'server.address': observation.service,
      'http.request.method': KNOWN_METHODS.has(observation.method) ? observation.method : '_OTHER',
    };
    if (observation.status > 0) attributes['http.response.status_code'] = observation.status;
    if (observation.errorType !== undefined) attributes['error.type'] = observation.errorType;
    // A caller that invents methods must not fill the memory.
    if (this.#attributes.size < MAX_CACHED_ATTRIBUTES) this.#attributes.set(key, attributes);
    return attributes;
  }
}

const MAX_CACHED_ATTRIBUTES = 4_096;
/** Others are reported as `_OTHER`, so that a caller cannot make new time series at will. */
const KNOWN_METHODS: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
  'PATCH',
]);
