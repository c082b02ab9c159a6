// The one error type of Heptad: a stable code, a sentence that helps, and whether a retry makes sense.

// A brand found through the global symbol registry survives two installed copies of this package,
// where `instanceof` would not.
const BRAND = Symbol.for('heptad.error');

/** What else a {@link HeptadError} can say beside its code and message. */
export interface HeptadErrorOptions {
  /** The error that made this one necessary. */
  readonly cause?: unknown;
  /** What the reader can do about it, as one sentence. */
  readonly hint?: string;
  /**
   * Whether the same call may succeed later without any change. An operation whose outcome is unknown is
   * never marked retryable. Default false.
   */
  readonly retryable?: boolean;
  /** Machine-readable facts (never secrets): replicas asked, limits, paths. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * Base of every error that Heptad throws on purpose.
 *
 * The message says what was being done, to what, and why it failed; `hint` says what to do about it.
 *
 * @example
 * ```ts
 * import { HeptadError, isHeptadError } from '@heptad/core';
 *
 * try {
 *   throw new HeptadError('NAME_IN_USE', 'cannot create container "web": the name is taken by 4f1c', {
 *     hint: 'remove that container or choose another name',
 *   });
 * } catch (error) {
 *   if (isHeptadError(error, 'NAME_IN_USE')) console.log(error.hint);
 * }
 * ```
 */
export class HeptadError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly hint: string | undefined;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: Code, message: string, options: HeptadErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = options.hint;
    this.retryable = options.retryable ?? false;
    this.details = options.details ?? {};
    Object.defineProperty(this, BRAND, { value: true, enumerable: false });
  }

  /** The parts that may cross a process border; the cause and the stack stay behind. */
  toJSON(): {
    code: Code;
    message: string;
    hint?: string;
    retryable: boolean;
    details: Readonly<Record<string, unknown>>;
  } {
    return {
      code: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      retryable: this.retryable,
      details: this.details,
    };
  }
}

/** Whether `error` is a {@link HeptadError}, and, when `code` is given, has that code. */
export function isHeptadError<Code extends string>(error: unknown, code?: Code): error is HeptadError<Code> {
  if (typeof error !== 'object' || error === null || !(BRAND in error)) return false;
  return code === undefined || ('code' in error && error.code === code);
}

/** A caller gave something that can never work. Codes: `INVALID_ARGUMENT`, and the more exact ones of each package. */
export function invalidArgument(
  message: string,
  hint?: string,
  details?: Readonly<Record<string, unknown>>,
): HeptadError<'INVALID_ARGUMENT'> {
  return new HeptadError('INVALID_ARGUMENT', message, {
    ...(hint === undefined ? {} : { hint }),
    ...(details === undefined ? {} : { details }),
  });
}

/** Any thrown value as a sentence, for joining into another message. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
