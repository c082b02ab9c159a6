// How centres and clients call each other: a request with an answer. HTTP in production, the Network port in simulation.

/** Answers a call; what it throws reaches the caller as a `HeptadError` of the same code. */
export type CallHandler = (method: string, message: unknown) => Promise<unknown>;

/** One running endpoint. */
export interface Endpoint extends AsyncDisposable {
  /** `host:port`, with the port that was really taken. */
  readonly address: string;
}

/** Calls and serves. */
export interface Transport {
  /**
   * Errors: `UNREACHABLE` (certainly not received), `UNKNOWN_OUTCOME` (sent, no answer), or what the handler threw.
   * An answer that takes longer than `timeoutMs` is an `UNKNOWN_OUTCOME`.
   */
  call(
    address: string,
    method: string,
    message: unknown,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<unknown>;
  serve(address: string, handler: CallHandler): Promise<Endpoint>;
}
