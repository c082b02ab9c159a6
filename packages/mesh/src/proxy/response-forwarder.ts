// ResponseForwarder: an endpoint's answer on its way to the client.

import type { Socket } from 'node:net';
import { BodyReader } from './http1/body.ts';
import { HeadBuffer } from './http1/head-buffer.ts';
import type { RequestHead } from './http1/request.ts';
import { composeResponseHead, parseResponseHead, type ResponseHead } from './http1/response.ts';

/** How far the answer has come. */
export interface Forwarded {
  readonly done: boolean;
  /** No bytes came beyond the answer: the connection can be trusted with the next request. */
  readonly clean: boolean;
  /** The client takes more. */
  readonly flowing: boolean;
}

/** A head that has come, and the bytes after it. */
export interface ReceivedHead {
  readonly head: ResponseHead;
  readonly rest: Buffer | undefined;
}

/** Forwards one answer. */
export class ResponseForwarder {
  /** The final head, once it is on its way to the client. */
  head: ResponseHead | undefined;
  /** The client's connection ends after this answer. */
  close = false;
  readonly #request: RequestHead;
  readonly #requestId: string;
  readonly #client: Socket;
  readonly #heads = new HeadBuffer();
  #body: BodyReader | undefined;
  #dechunk = false;

  constructor(request: RequestHead, requestId: string, client: Socket) {
    this.#request = request;
    this.#requestId = requestId;
    this.#client = client;
  }

  /** Reads bytes of heads; passes informational ones on, answers a final one or a switch of protocols. */
  readHead(bytes: Buffer): ReceivedHead | undefined {
    let rest: Buffer | undefined = bytes;
    while (rest !== undefined) {
      const complete = this.#heads.push(rest);
      if (complete === undefined) return undefined;
      const head = parseResponseHead(complete.text, this.#request.method);
      rest = complete.rest;
      if (head.status === 101 || head.status >= 200) return { head, rest };
      this.#informational(head);
    }
    return undefined;
  }

  /** Sends the final head and what has come of the body, as one write. */
  start({ head, rest }: ReceivedHead, closing: boolean): Forwarded {
    const chunked = head.framing.kind === 'chunked';
    // HTTP/1.0 has no chunks: such a client reads until the end.
    this.#dechunk = chunked && this.#request.minorVersion === 0;
    this.close = closing || !this.#request.keepAlive || this.#dechunk || head.framing.kind === 'close';
    this.head = head;
    this.#body = new BodyReader(head.framing);
    this.#client.cork();
    this.#sendHead(head, chunked && !this.#dechunk);
    const forwarded = this.forward(rest);
    this.#client.uncork();
    return forwarded;
  }

  /** Sends body bytes on. Errors: HttpParseError. */
  forward(bytes: Buffer | undefined): Forwarded {
    const body = this.#body;
    if (body === undefined || bytes === undefined)
      return { done: body?.done ?? false, clean: true, flowing: true };
    let flowing = true;
    const toClient = (slice: Buffer): void => {
      flowing = this.#client.write(slice);
    };
    const end = body.feed(bytes, 0, this.#dechunk ? toClient : undefined);
    if (!this.#dechunk && end > 0) toClient(body.forwardable(bytes, end));
    return { done: body.done, clean: end === bytes.length, flowing };
  }

  /** Sends the head of a switch of protocols. */
  switchProtocols(head: ResponseHead): void {
    this.head = head;
    this.#sendHead(head, false);
  }

  #informational(head: ResponseHead): void {
    const asked = head.status !== 100 || this.#request.expectContinue;
    if (this.#request.minorVersion === 1 && asked) this.#sendHead(head, false);
  }

  #sendHead(head: ResponseHead, chunked: boolean): void {
    const sayKeepAlive = this.#request.minorVersion === 0 && !this.close;
    const forwarding = { chunked, close: this.close, sayKeepAlive, requestId: this.#requestId };
    this.#client.write(composeResponseHead(head, forwarding), 'latin1');
  }
}
