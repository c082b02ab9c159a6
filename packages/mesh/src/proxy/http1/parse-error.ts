// HttpParseError: a message that breaks the grammar, with the status it deserves.

/** Thrown inside the HTTP/1.1 engine; becomes a problem response (request) or a 502 (response). */
export class HttpParseError extends Error {
  readonly status: 400 | 405 | 408 | 413 | 431 | 501 | 505;

  constructor(status: HttpParseError['status'], message: string) {
    super(message);
    this.name = 'HttpParseError';
    this.status = status;
  }
}
