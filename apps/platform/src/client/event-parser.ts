// Parser of server-sent events (HTML Living Standard, 9.2.6): text in any pieces in, whole events out.

/** A server-sent event. */
export interface ReceivedEvent {
  /** The newest id the stream has given so far; goes back as `Last-Event-ID`. Empty while it gave none. */
  readonly id: string;
  readonly type: string;
  readonly data: unknown;
}

/** Keeps what is unfinished between the pieces of a stream. */
export class EventParser {
  #rest = '';
  #id: string;
  #type = '';
  #data: string[] = [];

  constructor(lastEventId = '') {
    this.#id = lastEventId;
  }

  /** The id to resume from; a stream may give one before its first event. */
  get lastEventId(): string {
    return this.#id;
  }

  /** The events that `text` completes; their data is JSON. */
  push(text: string): ReceivedEvent[] {
    // A CR at the very end may be the first half of CRLF: it waits for what follows.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line: string): ReceivedEvent[] {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'id') this.#id = value;
    else if (field === 'event') this.#type = value;
    else if (field === 'data') this.#data.push(value);
    return [];
  }

  #dispatch(): ReceivedEvent[] {
    const data = this.#data.join('\n');
    const event = { id: this.#id, type: this.#type || 'message' };
    const empty = this.#data.length === 0;
    this.#type = '';
    this.#data = [];
    return empty ? [] : [{ ...event, data: JSON.parse(data) }];
  }
}
