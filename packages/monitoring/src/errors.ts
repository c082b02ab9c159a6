// The error of this package: every code it can throw, in one place.

import { HeptadError, type HeptadErrorOptions } from '@heptad/core';

/** Every code a {@link MonitoringError} can carry. */
export type MonitoringErrorCode =
  /** The PromQL text does not parse or does not type-check; `details.position` is the character offset. */
  | 'INVALID_QUERY'
  /** A valid PromQL feature that this evaluator does not have; the message names it. */
  | 'NOT_SUPPORTED'
  /** The query would touch more samples, produce more points or run longer than allowed. */
  | 'QUERY_TOO_EXPENSIVE'
  /** The query is well-formed, but its data make it meaningless (many-to-many matching, for one). */
  | 'QUERY_FAILED'
  /** A metric name, label, value or timestamp that cannot be stored. */
  | 'INVALID_SAMPLE'
  /** An OTLP or exposition payload that cannot be decoded. */
  | 'INVALID_PAYLOAD'
  /** A payload over the size limit. */
  | 'PAYLOAD_TOO_LARGE'
  /** A content type or encoding that is not understood. */
  | 'UNSUPPORTED_MEDIA_TYPE'
  /** The data could not be made durable; nothing of it was acknowledged. */
  | 'WRITE_FAILED'
  /** A database file is damaged or not one of ours. */
  | 'STORE_CORRUPTED'
  /** Another process has the directory open. */
  | 'STORE_IN_USE'
  /** The directory was written by a newer version. */
  | 'STORE_TOO_NEW'
  /** No trace, alert or rule of that name. */
  | 'NOT_FOUND'
  /** Something already has that name. */
  | 'ALREADY_EXISTS'
  /** An option out of its range. */
  | 'INVALID_ARGUMENT'
  /** A remote Prometheus could not be asked or answered with an error. */
  | 'REMOTE_FAILED'
  /** The object was closed. */
  | 'CLOSED';

/**
 * What the monitoring package throws on purpose.
 *
 * @example
 * ```ts
 * import { isHeptadError } from '@heptad/core';
 * import { parsePromql } from '@heptad/monitoring';
 *
 * try {
 *   parsePromql('sum(rate(requests_total[5m])');
 * } catch (error) {
 *   if (isHeptadError(error, 'INVALID_QUERY')) console.log(error.message, error.details['position']);
 * }
 * ```
 */
export class MonitoringError extends HeptadError<MonitoringErrorCode> {
  constructor(code: MonitoringErrorCode, message: string, options: HeptadErrorOptions = {}) {
    super(code, message, options);
    this.name = 'MonitoringError';
  }
}
