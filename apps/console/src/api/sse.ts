// Parser of server-sent events (HTML Living Standard, 9.2.6): text in any pieces in, whole events out.

/** One event. */
export interface SseEvent {
  /** `message` when the server named none. */
  readonly type: string;
  readonly data: string;
  /** The last id the stream has given so far; goes back as `Last-Event-ID`. */
  readonly id: string;
}

/** A line longer than this is no event of ours: the stream is given up instead of memory filled. */
const MAX_BUFFER_CHARS = 4 * 1024 * 1024;

/** Keeps what is unfinished between the pieces of a stream. */
export class SseParser {
  #rest = '';
  #started = false;
  #type = '';
  #data: string[] = [];
  #id = '';
  /** Milliseconds the server asks to wait before reconnecting. */
  retryMs: number | undefined;

  /** The id to resume from; empty when the stream gave none. */
  get lastEventId(): string {
    return this.#id;
  }

  /** The events that `text` completes. Throws when a line never ends. */
  push(text: string): SseEvent[] {
    this.#rest += text;
    if (!this.#started && this.#rest !== '') {
      this.#started = true;
      if (this.#rest.startsWith('\uFEFF')) this.#rest = this.#rest.slice(1);
    }
    const events: SseEvent[] = [];
    for (;;) {
      // A CR at the very end may be the first half of CRLF: wait for what follows.
      const match = /\r\n|\n|\r(?!$)/.exec(this.#rest);
      if (match === null) break;
      const line = this.#rest.slice(0, match.index);
      this.#rest = this.#rest.slice(match.index + match[0].length);
      const event = this.#line(line);
      if (event !== undefined) events.push(event);
    }
    if (this.#rest.length > MAX_BUFFER_CHARS) throw new Error('the event stream sent a line without end');
    return events;
  }

  #line(line: string): SseEvent | undefined {
    if (line === '') return this.#dispatch();
    if (line.startsWith(':')) return undefined;
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.#type = value;
    else if (field === 'data') this.#data.push(value);
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) this.retryMs = Number(value);
    return undefined;
  }

  #dispatch(): SseEvent | undefined {
    const data = this.#data;
    const type = this.#type === '' ? 'message' : this.#type;
    this.#data = [];
    this.#type = '';
    // An id without data moves the place to resume from, and is no event.
    return data.length === 0 ? undefined : { type, data: data.join('\n'), id: this.#id };
  }
}
